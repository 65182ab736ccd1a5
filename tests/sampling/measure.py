#!/usr/bin/env python3
"""Asks the samplers of the OpenTelemetry SDKs about the ids that we are asked about: see README.md."""

import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
WORK = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "sampling"
IDS = 1_000_000
FIXTURE_IDS = 4_096
RATIOS = ["0.5", "0.3333333333333333", "0.1", "0.01", "0.001"]
VERSIONS = {"python": "1.45.2", "sdk-trace-base": "2.12.1", "sampler-composite": "0.222.0"}


def run(command, **options):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, **options).stdout


def python():
    venv = WORK / "python"
    run([sys.executable, "-m", "venv", venv])
    run([venv / "bin/pip", "install", "-q", f"opentelemetry-sdk=={VERSIONS['python']}"])
    ask = [venv / "bin/python", HERE / "python/decide.py"]
    yield f"Python opentelemetry-sdk {VERSIONS['python']}, TraceIdRatioBased", [*ask, "ratio"]
    yield f"Python opentelemetry-sdk {VERSIONS['python']}, composable_traceid_ratio_based", [*ask, "probability"]


def node():
    place = WORK / "node"
    place.mkdir(exist_ok=True)
    names = [f"@opentelemetry/{name}@{VERSIONS[name]}" for name in ("sdk-trace-base", "sampler-composite")]
    run(["npm", "install", "--silent", "--prefix", place, "@opentelemetry/api@1", *names])
    script = place / "decide.js"
    shutil.copy(HERE / "node/decide.js", script)
    ask = ["node", script]
    yield f"JavaScript sdk-trace-base {VERSIONS['sdk-trace-base']}, TraceIdRatioBasedSampler", [*ask, "ratio"]
    name = f"JavaScript sampler-composite {VERSIONS['sampler-composite']}, createComposableProbabilitySampler"
    yield name, [*ask, "probability"]


def go():
    place = WORK / "go"
    shutil.copytree(HERE / "go", place, dirs_exist_ok=True)
    run(["go", "mod", "tidy"], cwd=place, stderr=subprocess.DEVNULL)
    run(["go", "build", "-o", place / "decide", "."], cwd=place)
    versions = dict(line.split()[:2] for line in (HERE / "go/go.mod").read_text().splitlines() if " v" in line)
    sdk, collector = versions["go.opentelemetry.io/otel/sdk"], versions[
        "github.com/open-telemetry/opentelemetry-collector-contrib/pkg/sampling"
    ]
    yield f"Go otel/sdk {sdk}, TraceIDRatioBased", [place / "decide", "ratio"]
    yield f"Collector pkg/sampling {collector}, ProbabilityToThreshold", [place / "decide", "probability"]


def java():
    place = WORK / "java"
    shutil.copytree(HERE / "java", place, dirs_exist_ok=True)
    run(["mvn", "-q", "-B", "dependency:build-classpath", "-Dmdep.outputFile=classpath"], cwd=place)
    classpath = f"{(place / 'classpath').read_text()}:{place}"
    run(["javac", "-cp", classpath, "-d", place, place / "Decide.java"])
    ask = ["java", "-cp", classpath, "Decide"]
    yield "Java opentelemetry-sdk-trace 1.67.0, traceIdRatioBased", [*ask, "ratio"]
    yield "Java sdk-extension-incubator 1.65.0-alpha, ComposableSampler.probability", [*ask, "probability"]


def bits(decisions):
    return int("".join(map(str, decisions)), 2).to_bytes(len(decisions) // 8, "big").hex()


def main():
    WORK.mkdir(parents=True, exist_ok=True)
    build = ["cargo", "build", "-q", "--release", "-p", "spandrel-common", "--example", "decide"]
    run([*build, "--target-dir", WORK / "cargo"], cwd=ROOT)
    ours = WORK / "cargo/release/examples/decide"
    ids = run([ours, "ids", str(IDS)])
    expect = run([ours, "ratios", *RATIOS], input=ids)
    same = []
    print("| sampler | " + " | ".join(f"agrees at {float(ratio):.4g}" for ratio in RATIOS) + " |")
    print("|---|" + "---|" * len(RATIOS))
    for language in (python, node, go, java):
        try:
            samplers = list(language())
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"{language.__name__} is left out: {error}", file=sys.stderr)
            continue
        for name, command in samplers:
            found = run([*command, *RATIOS], input=ids)
            assert len(found) == len(expect), name
            equal = [a == b for a, b in zip(found, expect)]
            counts = [sum(equal[i * IDS : (i + 1) * IDS]) for i in range(len(RATIOS))]
            shown = ["all" if count == IDS else f"{count / IDS:.2%}" for count in counts]
            print(f"| {name} | " + " | ".join(shown) + " |", flush=True)
            if all(equal):
                same.append(name)
    go_decide = WORK / "go/decide"
    if go_decide.exists():
        ratios = [str(i / 9_973) for i in range(1, 9_974)] + [str(1 / n) for n in range(1, 10_000)]
        assert run([ours, "th", *ratios]) == run([go_decide, "th", *ratios]), "th values differ"
        print(f"\nth of {len(ratios)} ratios: as the Collector's pkg/sampling writes it")
    if "--fixture" in sys.argv:
        lines = [f"# The same from {name}" for name in same]
        for i, ratio in enumerate(RATIOS):
            lines.append(f"{ratio} {bits(expect[i * IDS : i * IDS + FIXTURE_IDS])}")
        (HERE / "decisions.txt").write_text("\n".join(lines) + "\n")


main()
