#!/usr/bin/env python3
"""Tables of ratios from the JSON that scripts/bench writes (or nibble_bench itself).

  compare.py RUN             every benchmark: time, rate, share of what the machine's probe for that unit
                             reached, and its peers' time over ours
  compare.py BEFORE AFTER    time before over time after
  compare.py --merge OUT PART...   joins the runs of several tiers into one file
"""

import json
import math
import re
import statistics
import sys

PEERS = ("onednn", "openblas")
INTEGER = ("qgemm", "int_infer")
RATES = ("GFLOPS", "GOPS", "GB/s", "kimages/s")
# What the machine can do in a unit, measured in the same run: multiply-adds in registers, reads beyond L2.
PROBES = {"GFLOPS": "probe/fma", "GB/s": "probe/read/bytes:8388608"}


def fail(message):
    sys.exit(f"compare: {message}")


def load(path):
    try:
        with open(path, encoding="utf-8") as file:
            run = json.load(file)
        if not isinstance(run.get("benchmarks"), list):
            fail(f"{path}: no benchmarks in it")
        return run
    except (OSError, ValueError, AttributeError) as error:
        fail(f"{path}: {error}")


def medians(run):
    """(tier, name) -> (median time in ns, rate in the unit of its counter, unit)"""
    to_ns = {"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9}
    times, rates = {}, {}
    for entry in run["benchmarks"]:
        if entry.get("run_type") == "aggregate" or entry.get("error_occurred"):
            continue
        key = (entry.get("isa", run["context"].get("isa", "")), entry["run_name"])
        times.setdefault(key, []).append(entry["real_time"] * to_ns[entry["time_unit"]])
        for unit in RATES:
            if unit in entry:
                rates.setdefault(key, (unit, []))[1].append(entry[unit])
    result = {}
    for key, values in times.items():
        unit, rate = rates.get(key, ("", []))
        result[key] = (statistics.median(values), statistics.median(rate) if rate else None, unit)
    return result


def merge(out, parts):
    merged = None
    for path in parts:
        run = load(path)
        for entry in run["benchmarks"]:
            entry["isa"] = run["context"].get("isa", "")
        if merged is None:
            merged = run
        else:
            merged["benchmarks"] += run["benchmarks"]
    with open(out, "w", encoding="utf-8") as file:
        json.dump(merged, file, indent=1)
    print(f"compare: {out}: {len(merged['benchmarks'])} entries", file=sys.stderr)


def geometric_mean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def split(name):
    """The family (of integer products: with its widths) and thread count of a name, over which ratios are averaged."""
    parts = name.split("/")
    return "/".join(parts[:3]) if parts[0] in INTEGER else parts[0], parts[-1]


def in_8_bits(name):
    """What integers are held against, whatever its widths: the peer's of 8 bits."""
    return re.sub(r"/w:[^/]+/a:[^/]+", "/w:8/a:8", name) if name.split("/")[0] in INTEGER else name


def show_run(run):
    table = medians(run)
    groups = {}
    print(f"{'benchmark':58} {'us':>11} {'rate':>9} {'':9} machine  onednn openblas")
    for (isa, name), (time, rate, unit) in sorted(table.items()):
        if name.split("/")[0] in PEERS:
            continue
        line = f"{name:58} {time / 1e3:11.2f} "
        line += f"{rate:9.1f} {unit:9}" if rate is not None else " " * 19
        probe = table.get((isa, f"{PROBES.get(unit)}/{split(name)[1]}"))
        line += f" {100 * rate / probe[1]:5.0f} %" if probe else " " * 8
        for peer in PEERS:
            theirs = table.get((isa, f"{peer}/{in_8_bits(name)}"))
            line += f" {theirs[0] / time:7.2f}" if theirs else " " * 8
            if theirs:
                groups.setdefault((isa, peer) + split(name), []).append(theirs[0] / time)
        print(line.rstrip() + (f"  [{isa}]" if isa else ""))
    for (isa, peer, family, threads), ratios in sorted(groups.items()):
        print(f"{family}, {threads}, {isa}: {geometric_mean(ratios):.3f} times {peer} "
              f"(geometric mean of {len(ratios)}, least {min(ratios):.2f})")


def show_change(before, after):
    old, new = medians(before), medians(after)
    both = sorted(old.keys() & new.keys())
    if not both:
        fail("the two runs have no benchmark in common")
    print(f"{'benchmark':66} {'before us':>11} {'after us':>11} before/after")
    for key in both:
        print(f"{key[1]:58} {key[0]:7} {old[key][0] / 1e3:11.2f} {new[key][0] / 1e3:11.2f} {old[key][0] / new[key][0]:8.2f}")
    print(f"geometric mean of {len(both)}: {geometric_mean([old[k][0] / new[k][0] for k in both]):.3f}")


def main(arguments):
    if len(arguments) >= 3 and arguments[0] == "--merge":
        merge(arguments[1], arguments[2:])
    elif len(arguments) == 1 and not arguments[0].startswith("-"):
        show_run(load(arguments[0]))
    elif len(arguments) == 2 and not arguments[0].startswith("-"):
        show_change(load(arguments[0]), load(arguments[1]))
    else:
        sys.exit(__doc__.strip())


if __name__ == "__main__":
    main(sys.argv[1:])
