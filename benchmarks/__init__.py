"""What an explanation costs, and whether it is faithful. Needs the extra `bench`."""
