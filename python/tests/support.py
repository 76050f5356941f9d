"""What the tests of the Python package share. They run against the package that is installed."""

import os
import pathlib
import unittest

import ingot

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODELS = pathlib.Path(os.environ.get("INGOT_MODELS", ROOT / "build/models"))
os.environ["INGOT_MODELS_DIR"] = str(MODELS)
MODEL = "smollm2"
NIGHTLY = os.environ.get("INGOT_NIGHTLY") == "1"
QUESTION = "What is the capital of France?"
# Small, so that many pipelines fit next to the other tests.
CONFIG = ingot.TurbomindEngineConfig(session_len=1024, max_batch_size=16, kv_cache_bytes=256 << 20, compute="exact")


class WithPipeline(unittest.TestCase):
    """One pipeline for the tests of a class."""

    pipe: ingot.Pipeline

    @classmethod
    def setUpClass(cls) -> None:
        cls.pipe = ingot.pipeline(MODEL, backend_config=CONFIG)

    @classmethod
    def tearDownClass(cls) -> None:
        cls.pipe.close()

    def used_blocks(self) -> int:
        stats = self.pipe.stats()
        return stats["total_blocks"] - stats["free_blocks"] - stats["cached_blocks"]
