#!/usr/bin/env python3
"""Writes the sample files of the quick start: invented data in the shapes of real laboratory exports.

Run it in this folder to write them again; the same bytes come out every time.
"""

import math
import pathlib
import random

HERE = pathlib.Path(__file__).parent / "samples"


def spectrum(rng):
    """A UV/VIS spectrometer: UTF-16 with byte order mark, tabs, one header line."""
    lines = ["Wavelength (nm)\tAbsorbance\tReference µW\tOperator"]
    for nm in range(220, 801, 2):
        peak = 1.2 * math.exp(-(((nm - 280) / 14) ** 2)) + 0.35 * math.exp(-(((nm - 412) / 30) ** 2))
        absorbance = peak + rng.uniform(-0.002, 0.002) + 0.02
        lines.append(f"{nm}\t{absorbance:.4f}\t{rng.uniform(98, 102):.2f}\tM. Köhler")
    return ("\r\n".join(lines) + "\r\n").encode("utf-16")


def bioreactor(rng):
    """A fermenter of a German workstation: semicolons, decimal commas, an 8-bit code page."""
    lines = ["Zeit;Temperatur °C;pH;pO2 %;Drehzahl 1/min;Bemerkung"]
    ph, oxygen = 7.0, 100.0
    for minute in range(0, 24 * 60, 5):
        ph += rng.uniform(-0.012, 0.01)
        oxygen = min(100.0, max(28.0, oxygen - 0.4 + rng.uniform(-0.6, 0.7)))
        note = '"Probe 1; 5 ml"' if minute == 300 else ""
        cells = [f"{37 + rng.uniform(-0.15, 0.15):.2f}", f"{ph:.3f}", f"{oxygen:.1f}"]
        numbers = ";".join(cell.replace(".", ",") for cell in cells)
        lines.append(f"{minute // 60:02}:{minute % 60:02};{numbers};{400 + minute // 6};{note}")
    return ("\r\n".join(lines) + "\r\n").encode("windows-1252")


def plates(rng):
    """A plate reader's long run: plain CSV, 10,000 rows."""
    lines = ["read,plate,well,od600,fluorescence,temperature"]
    for read in range(10_000):
        well = read % 96
        cycle = read // 96
        growth = 1.4 / (1 + math.exp(-(cycle - 48 - well % 12) / 9))
        name = f"{'ABCDEFGH'[well // 12]}{well % 12 + 1:02}"
        lines.append(
            f"{read + 1},P{1 + cycle // 26:03},{name},{growth + 0.05 + rng.uniform(-0.004, 0.004):.4f},"
            f"{int(growth * 21000 + rng.uniform(0, 400))},{37 + rng.uniform(-0.1, 0.1):.1f}"
        )
    return ("\n".join(lines) + "\n").encode()


def main():
    HERE.mkdir(exist_ok=True)
    for name, make in [
        ("spectrum-2026-0117.txt", spectrum),
        ("bioreactor-04.csv", bioreactor),
        ("plate-reads.csv", plates),
    ]:
        (HERE / name).write_bytes(make(random.Random(name)))


if __name__ == "__main__":
    main()
