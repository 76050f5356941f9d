"""Measures OpenVINO GenAI in this process: openvino_worker.py FILE.gguf THREADS

Loads the file, prints {"ready": seconds}, then reads a request a line, {"requests": N, "concurrency": C, "input_len": P,
"output_len": G, "seed": S}, and prints its figures as a line of JSON. Runs in the environment that install.sh makes.
"""

import json
import statistics
import sys
import time

import numpy as np
import openvino as ov
import openvino_genai as genai

MAX_BATCHED_TOKENS = 2048  # of a step: a whole prompt at once, which is faster than the default of 256
CACHE_GIB = 2


def load(path: str, threads: int) -> genai.ContinuousBatchingPipeline:
    config = genai.SchedulerConfig()
    config.max_num_batched_tokens = MAX_BATCHED_TOKENS
    config.cache_size = CACHE_GIB
    config.enable_prefix_caching = False  # prompts repeat from round to round
    return genai.ContinuousBatchingPipeline(path, config, "CPU", {"INFERENCE_NUM_THREADS": threads})


class Request:
    """One request: when each of its tokens came."""

    def __init__(self, pipeline: genai.ContinuousBatchingPipeline, number: int, ids: np.ndarray, output_len: int) -> None:
        config = genai.GenerationConfig()
        config.max_new_tokens = output_len
        config.ignore_eos = True
        config.do_sample = False
        self.sent = time.perf_counter()
        self.handle = pipeline.add_request(number, ov.Tensor(ids[None]), config)
        self.times: list[float] = []

    def collect(self, now: float) -> None:
        while self.handle.can_read():
            for output in self.handle.read().values():
                self.times += [now] * len(output.generated_ids)


def run(pipeline: genai.ContinuousBatchingPipeline, order: dict) -> dict:
    rng = np.random.default_rng(order["seed"])
    prompts = rng.integers(100, 40000, (order["requests"], order["input_len"]))
    waiting, running, done = list(enumerate(prompts)), [], []
    begin = time.perf_counter()
    while waiting or running:
        while waiting and len(running) < order["concurrency"]:
            number, ids = waiting.pop(0)
            running.append(Request(pipeline, number, ids, order["output_len"]))
        pipeline.step()
        now = time.perf_counter()
        for request in running:
            request.collect(now)
        done += [r for r in running if len(r.times) >= order["output_len"]]
        running = [r for r in running if len(r.times) < order["output_len"]]
    while pipeline.has_non_finished_requests():
        pipeline.step()
    return figures(done, begin, order)


def figures(done: list[Request], begin: float, order: dict) -> dict:
    begun = max(r.times[0] for r in done)  # every answer has begun
    end = max(r.times[-1] for r in done)
    after = sum(t > begun for r in done for t in r.times)
    return {
        "prefill": order["requests"] * order["input_len"] / (begun - begin),
        "decode": after / (end - begun) if end > begun else None,
        "output_throughput": sum(len(r.times) for r in done) / (end - begin),
        "median_ttft_ms": statistics.median((r.times[0] - r.sent) * 1e3 for r in done),
        "median_tpot_ms": statistics.median((r.times[-1] - r.times[0]) * 1e3 / max(1, len(r.times) - 1) for r in done),
        "total_output_tokens": sum(len(r.times) for r in done),
    }


def main() -> None:
    begin = time.perf_counter()
    pipeline = load(sys.argv[1], int(sys.argv[2]))
    print(json.dumps({"ready": time.perf_counter() - begin}), flush=True)
    for line in sys.stdin:
        print(json.dumps(run(pipeline, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
