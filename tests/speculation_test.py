"""Answers with --speculative-ngram are those without it, bit for bit: greedy and sampled, with an int4 cache, several at once."""

import concurrent.futures
import json
import re
import unittest
import urllib.request

from support import Server, require_model

MODEL = require_model()
TEXT = "The old map shows a river, a stone bridge, seven houses and a mill by the river. "


def requests() -> list[dict]:
    """Texts that the model continues by repeating them, and one where it can repeat nothing."""
    prompts = [TEXT * 3, "Write the text once more: " + TEXT + "Once more: The old map", "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11,", "Whales"]
    bodies = [{"prompt": prompt, "temperature": 0} for prompt in prompts]
    bodies += [{"prompt": prompt, "temperature": 0.7, "top_p": 0.9, "seed": 5} for prompt in prompts]
    return [body | {"model": "m", "max_tokens": 60, "ignore_eos": True, "logprobs": 2} for body in bodies]


def answers(server: Server) -> list[dict]:
    def ask(body: dict) -> dict:
        request = urllib.request.Request(server.url + "/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=300) as response:
            return json.load(response)["choices"][0]

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        return list(pool.map(ask, requests()))


def counter(server: Server, name: str) -> float:
    return float(re.search(rf"(?m)^{name}(?:{{[^}}]*}})? (\S+)", server.get("/metrics")).group(1))


class SpeculationTest(unittest.TestCase):
    def test_no_answer_changes(self) -> None:
        arguments = (MODEL, "--model-name", "m", "--quant-policy", "4", "--session-len", "1024", "--max-batch-size", "4")
        with Server(*arguments) as server:
            without = answers(server)
            self.assertEqual(counter(server, "ingot_draft_tokens_total"), 0)
        with Server(*arguments, "--speculative-ngram", "4") as server:
            self.assertEqual(answers(server), without)
            accepted = counter(server, "ingot_accepted_draft_tokens_total")
            self.assertGreater(accepted, 50)
            self.assertGreater(counter(server, "ingot_draft_tokens_total"), accepted)


if __name__ == "__main__":
    unittest.main()
