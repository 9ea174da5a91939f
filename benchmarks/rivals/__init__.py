"""Maps by other methods, each as one function from pictures and classes to relevance, judged beside the explainer's."""
