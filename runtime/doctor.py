"""What this machine can run, what is missing and the line that installs it. Nothing here fails: it reports."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from whymask.runtime.cuda import CudaDriver, Device, cuda_driver
from whymask.runtime.cuda_find import find_calls
from whymask.runtime.errors import BackendError, MissingExtra
from whymask.runtime.onnx_wire import identity_model
from whymask.runtime.ort import CPU, import_onnxruntime

OK, ABSENT, PROBLEM = "ok", "absent", "problem"

OLDEST_PYTHON = (3, 10)
JETPACK_BY_L4T = {"32": "4", "35": "5", "36": "6", "38": "7", "39": "7"}
"""JetPack's major version by the major release of its Linux for Tegra."""
TEGRA_RELEASE = Path("/etc/nv_tegra_release")
REMOTE_PROVIDERS = ("AzureExecutionProvider",)
"""Providers that run no graph on this machine."""
ONNX_RUNTIMES = ("onnxruntime", "onnxruntime-gpu")
GPU_EXTRAS = ("cuda", "ort-gpu", "tensorrt", "tensorrt-rtx")
COLLECTIONS = ("all", "dev")
"""Extras that only gather others."""
IMPORT_SECONDS = 60


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        name: what was looked at.
        state: `ok`, `absent` (fine unless you need it) or `problem`.
        detail: what was found.
        remedy: what to do, a command where there is one.
    """

    name: str
    state: str
    detail: str
    remedy: str = ""


def examine() -> list[Finding]:
    """Look at this machine."""
    driver = cuda_driver()
    return [
        _python(),
        _package("whymask", "pip install whymask"),
        _package("numpy", "pip install numpy"),
        _jetpack(),
        _driver(driver),
        _cuda_calls(driver),
        *_onnxruntime(driver),
        _tensorrt("tensorrt", "tensorrt"),
        _tensorrt("tensorrt_rtx", "tensorrt-rtx"),
        _torch(),
        *_extras(),
    ]


def _python() -> Finding:
    detail = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info < OLDEST_PYTHON:
        return Finding("Python", PROBLEM, detail, "whymask needs Python 3.10 or newer")
    return Finding("Python", OK, detail)


def _package(name: str, remedy: str) -> Finding:
    version = _version(name)
    return Finding(name, OK, version) if version else Finding(name, ABSENT, "no installed distribution", remedy)


def _jetpack() -> Finding:
    try:
        text = TEGRA_RELEASE.read_text("utf-8")
    except OSError:
        return Finding("JetPack", ABSENT, f"no {TEGRA_RELEASE}: not a Jetson")
    found = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", text)
    if not found:
        return Finding("JetPack", PROBLEM, f"{TEGRA_RELEASE} says {text.splitlines()[0] if text else 'nothing'!r}")
    release, revision = found.groups()
    jetpack = JETPACK_BY_L4T.get(release)
    name = f"JetPack {jetpack}" if jetpack else "a JetPack that this version does not know"
    return Finding("JetPack", OK, f"{name} (Linux for Tegra {release}.{revision})")


def _driver(driver: CudaDriver) -> Finding:
    if not driver.devices:
        return Finding("CUDA", ABSENT, driver.problem)
    devices = "; ".join(_device(device) for device in driver.devices)
    return Finding("CUDA", OK, f"driver for CUDA {driver.version}: {devices}")


def _device(device: Device) -> str:
    return f"{device}, {'memory shared with the CPU' if device.integrated else 'memory of its own'}"


def _cuda_calls(driver: CudaDriver) -> Finding:
    """How an engine would call CUDA; without a device only whether there is a way."""
    name = "CUDA calls"
    try:
        calls = find_calls(is_tried=bool(driver.devices))
    except BackendError as error:
        detail, _, remedy = str(error).partition("; run: ")
        return Finding(name, PROBLEM if driver.devices else ABSENT, detail, remedy)
    return Finding(name, OK, f"through {calls.source}{'' if driver.devices else ', not tried without a device'}")


def _onnxruntime(driver: CudaDriver) -> Iterator[Finding]:
    try:
        ort = import_onnxruntime("run an ONNX graph")
    except (MissingExtra, BackendError) as error:
        missing = isinstance(error, MissingExtra)
        yield Finding(
            "onnxruntime",
            ABSENT if missing else PROBLEM,
            "not installed" if missing else str(error),
            'pip install "whymask[ort]"' if missing else "",
        )
        return
    both = [name for name in ONNX_RUNTIMES if _version(name)]
    if len(both) == 2:
        yield Finding(
            "onnxruntime",
            PROBLEM,
            f"{ort.__version__}; {' and '.join(both)} are both installed and overwrite each other's files",
            "pip uninstall onnxruntime onnxruntime-gpu, then install one of them",
        )
    else:
        yield Finding("onnxruntime", OK, f"{ort.__version__} ({both[0] if both else 'of another origin'})")
    for provider in ort.get_available_providers():
        if provider not in REMOTE_PROVIDERS:
            yield _provider(provider, driver)


def _provider(provider: str, driver: CudaDriver) -> Finding:
    """Whether a session of one node really gets this provider; listed is not loaded."""
    if provider.startswith(("CUDA", "Tensorrt", "NvTensorRT")) and not driver.devices:
        return Finding(provider, ABSENT, f"listed, not loaded: {driver.problem}")
    import onnxruntime as ort

    try:
        session = ort.InferenceSession(identity_model(), providers=[provider], enable_fallback=0)
    # onnxruntime's exceptions have no public base class.
    except Exception as error:
        return Finding(provider, PROBLEM, f"listed, does not load: {str(error).strip().splitlines()[0]}")
    if session.get_providers()[0] != provider:
        return Finding(provider, PROBLEM, f"listed, does not load: onnxruntime took {session.get_providers()[0]}")
    return Finding(provider, OK, "loads" if provider != CPU else "loads (always there)")


def _tensorrt(module: str, extra: str) -> Finding:
    """Import in a process of its own: without a driver TensorRT may crash, and it keeps what it has loaded."""
    if importlib.util.find_spec(module) is None:
        return Finding(module, ABSENT, "not installed", _pip_line(extra))
    command = [sys.executable, "-c", f"import {module}; print({module}.__version__)"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=IMPORT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return Finding(module, PROBLEM, f"importing it takes more than {IMPORT_SECONDS} s")
    if done.returncode == 0:
        return Finding(module, OK, f"{done.stdout.strip()} imports")
    last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return Finding(module, PROBLEM, f"installed, does not import: {last}")


def _torch() -> Finding:
    version = _version("torch")
    if version:
        return Finding("torch", OK, f"{version} (not needed by the runtime)")
    return Finding(
        "torch", ABSENT, "not installed; training and export need it, the runtime does not", _pip_line("train")
    )


def _extras() -> Iterator[Finding]:
    for extra, packages in extras().items():
        missing = [package for package in packages if not _installed(package)]
        if missing:
            only = " (of use with an NVIDIA GPU only)" if extra in GPU_EXTRAS else ""
            yield Finding(f"extra {extra}", ABSENT, f"lacks {', '.join(missing)}{only}", _pip_line(extra))
        else:
            yield Finding(f"extra {extra}", OK, ", ".join(packages))


def extras() -> dict[str, list[str]]:
    """Packages of each extra, as the installed distribution declares them; empty where whymask is not installed."""
    try:
        declared = importlib.metadata.requires("whymask") or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    direct: dict[str, list[str]] = {}
    for line in declared:
        requirement, _, marker = line.partition(";")
        found = re.search(r"extra == ['\"]([\w-]+)['\"]", marker)
        if found and found[1] not in COLLECTIONS:
            direct.setdefault(found[1], []).append(requirement.strip())
    return {extra: sorted(set(_packages(extra, direct))) for extra in direct}


def _packages(extra: str, direct: dict[str, list[str]]) -> Iterator[str]:
    """Names of an extra's packages; `whymask[a,b]` stands for the packages of a and b."""
    for requirement in direct.get(extra, []):
        inner = re.match(r"whymask\[([\w,\s-]+)\]", requirement)
        if inner:
            for other in inner[1].split(","):
                yield from _packages(other.strip(), direct)
        else:
            yield re.split(r"[^\w.-]", requirement, maxsplit=1)[0]


def _installed(package: str) -> bool:
    if package == "onnxruntime":
        return any(_version(name) for name in ONNX_RUNTIMES) or importlib.util.find_spec("onnxruntime") is not None
    return _version(package) is not None


def _pip_line(extra: str) -> str:
    if extra == "tensorrt" and TEGRA_RELEASE.exists():
        return "JetPack brings it for the system's Python; run: python3 -m venv --system-site-packages .venv"
    if extra == "ort-gpu":
        return 'pip uninstall onnxruntime; pip install "whymask[ort-gpu]"'
    return f'pip install "whymask[{extra}]"'


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
