"""Trees of /sys as boards have them, written into a folder.

They follow the documented layout (the kernel's hwmon and powercap interfaces, NVIDIA's rail names) and are not recorded
on a device; the values are made up.
"""

from __future__ import annotations

from pathlib import Path


def write_tree(root: Path, files: dict[str, object]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{text}\n")
    return root


def ina3221(folder: str, rails: list[tuple[str, int, int]]) -> dict[str, object]:
    """One chip: label, millivolts and milliamperes of each channel, then the sums that newer kernels add."""
    files: dict[str, object] = {f"{folder}/name": "ina3221", f"{folder}/in7_label": "sum of shunt voltages"}
    files[f"{folder}/curr4_input"] = 9999
    files[f"{folder}/in7_input"] = 9999
    for channel, (label, millivolts, milliamperes) in enumerate(rails, 1):
        files[f"{folder}/in{channel}_label"] = label
        files[f"{folder}/in{channel}_input"] = millivolts
        files[f"{folder}/curr{channel}_input"] = milliamperes
    return files


def orin_nano(root: Path) -> Path:
    """Orin Nano and Orin NX: one chip, the first channel is the module's input: 5 V × 1.2 A = 6 W."""
    rails = [("VDD_IN", 5000, 1200), ("VDD_CPU_GPU_CV", 5000, 300), ("VDD_SOC", 5000, 250)]
    return write_tree(root, {"class/hwmon/hwmon0/name": "nct1008", **ina3221("class/hwmon/hwmon1", rails)})


def agx_orin(root: Path) -> Path:
    """AGX Orin: two chips and no input rail; 9 + 4 + 5 W, and 1 W of memory that is part of the 5 V."""
    first = [("VDD_GPU_SOC", 18000, 500), ("VDD_CPU_CV", 20000, 200), ("VIN_SYS_5V0", 5000, 1000)]
    second = [("NC", 0, 0), ("VDDQ_VDD2_1V8AO", 5000, 200), ("NC", 0, 0)]
    return write_tree(root, ina3221("class/hwmon/hwmon3", first) | ina3221("class/hwmon/hwmon4", second))


def agx_xavier(root: Path) -> Path:
    """AGX Xavier with JetPack 4: NVIDIA's own driver, two chips, milliwatts; 1 + 2 + 3 + 4 + 5 + 6 W."""
    files: dict[str, object] = {}
    names = [("GPU", "CPU", "SOC"), ("CV", "VDDRQ", "SYS5V")]
    for chip, rails in enumerate(names):
        folder = f"bus/i2c/drivers/ina3221x/1-004{chip}/iio:device{chip}"
        for channel, name in enumerate(rails):
            files[f"{folder}/rail_name_{channel}"] = name
            files[f"{folder}/in_power{channel}_input"] = 1000 * (3 * chip + channel + 1)
    return write_tree(root, files)


def thor(root: Path) -> Path:
    """Thor: an INA3221 of the module and an INA238 of the board's input, which tells microwatts."""
    rails = [("VDD_GPU", 800, 3000), ("VDD_CPU_SOC_MSS", 900, 4000), ("VIN_SYS_5V0", 5000, 1300)]
    vin = "class/hwmon/hwmon2"
    files = {f"{vin}/name": "ina238", f"{vin}/label": "VIN", f"{vin}/power1_input": 23_500_000}
    return write_tree(root, ina3221("class/hwmon/hwmon1", rails) | files | {f"{vin}/in1_input": 20000})


def personal_computer(root: Path, package_uj: int = 5_000_000, dram_uj: int = 1_000_000) -> Path:
    """A PC with RAPL: one package, its cores (part of the package), and its memory."""
    zones = {
        "intel-rapl:0": ("package-0", package_uj),
        "intel-rapl:0:0": ("core", 777),
        "intel-rapl:0:1": ("dram", dram_uj),
    }
    files: dict[str, object] = {}
    for zone, (name, energy) in zones.items():
        files[f"class/powercap/{zone}/name"] = name
        files[f"class/powercap/{zone}/energy_uj"] = energy
        files[f"class/powercap/{zone}/max_energy_range_uj"] = 262_143_328_850
    return write_tree(root, files | {"class/powercap/intel-rapl-mmio:0/name": "package-0"})
