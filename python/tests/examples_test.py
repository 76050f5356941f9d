"""LMDeploy's documented examples with one import changed, and every example of docs/python.md."""

import os
import re
import tempfile
import unittest

from support import CONFIG, MODEL, ROOT, WithPipeline


class LmdeployExamples(WithPipeline):
    """How LMDeploy's documentation uses its pipeline, with shorter answers. The imports are the change."""

    def test_batch(self) -> None:
        from ingot import GenerationConfig

        response = self.pipe(["Hi, pls intro yourself", "Shanghai is"], gen_config=GenerationConfig(max_new_tokens=8))
        self.assertEqual(len(response), 2)
        self.assertTrue(all(r.text and r.input_token_len > 0 and r.finish_reason == "length" for r in response))

    def test_engine_and_generation_config(self) -> None:
        from ingot import ChatTemplateConfig, GenerationConfig, TurbomindEngineConfig, pipeline

        backend_config = TurbomindEngineConfig(tp=1, session_len=512, cache_max_entry_count=0.02, compute="exact")
        gen_config = GenerationConfig(top_p=0.8, top_k=40, temperature=0.8, max_new_tokens=8, do_sample=True, random_seed=1)
        with pipeline(MODEL, backend_config=backend_config, chat_template_config=ChatTemplateConfig("chatml"), log_level="ERROR") as pipe:
            response = pipe(["Hi, pls intro yourself", "Shanghai is"], gen_config=gen_config)
        self.assertEqual([r.generate_token_len for r in response], [8, 8])

    def test_openai_messages(self) -> None:
        from ingot import GenerationConfig

        prompts = [[{"role": "user", "content": "Hi, pls intro yourself"}], [{"role": "user", "content": "Shanghai is"}]]
        response = self.pipe(prompts, gen_config=GenerationConfig(max_new_tokens=4))
        self.assertEqual([r.index for r in response], [0, 1])

    def test_stream_infer(self) -> None:
        from ingot import GenerationConfig

        prompts = [[{"role": "user", "content": "Hi, pls intro yourself"}], [{"role": "user", "content": "Shanghai is"}]]
        items = list(self.pipe.stream_infer(prompts, gen_config=GenerationConfig(max_new_tokens=4)))
        self.assertEqual({item.index for item in items if item.finish_reason}, {0, 1})

    def test_logits_and_hidden_states(self) -> None:
        from ingot import GenerationConfig

        for config in (
            GenerationConfig(output_logits="generation", max_new_tokens=3),
            GenerationConfig(output_logits="all", max_new_tokens=3),
        ):
            response = self.pipe(["Hi, pls intro yourself", "Shanghai is"], gen_config=config)
            logits = [x.logits for x in response]
            self.assertEqual([x.ndim for x in logits], [2, 2])
        config = GenerationConfig(output_last_hidden_state="generation", max_new_tokens=3)
        response = self.pipe(["Hi, pls intro yourself", "Shanghai is"], gen_config=config)
        self.assertEqual([x.last_hidden_state.shape for x in response], [(3, 576)] * 2)

    def test_perplexity(self) -> None:
        messages = [{"role": "user", "content": "Hello, how are you?"}]
        input_ids = self.pipe.apply_chat_template(messages)
        (ppl,) = self.pipe.get_ppl(input_ids)
        self.assertGreater(ppl, 0)
        self.assertEqual(self.pipe.get_ppl([input_ids, input_ids]), [ppl, ppl])

    def test_chat(self) -> None:
        from ingot import GenerationConfig

        gen_config = GenerationConfig(top_k=1, max_new_tokens=6)
        sess = self.pipe.chat("Describe a river.", gen_config=gen_config)
        self.assertTrue(sess.response.text)
        sess = self.pipe.chat("Where does it end?", session=sess, gen_config=gen_config)
        self.assertEqual(len(sess.history), 2)

    def test_close(self) -> None:
        from ingot import pipeline

        pipe = pipeline(MODEL, backend_config=CONFIG)
        pipe.close()


class Documentation(unittest.TestCase):
    def test_python_md(self) -> None:
        text = (ROOT / "docs/python.md").read_text()
        blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        self.assertGreater(len(blocks), 10)
        names: dict[str, object] = {"__name__": "docs"}
        before = os.getcwd()
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            try:
                for block in blocks:
                    with self.subTest(block):
                        exec(compile(block, "docs/python.md", "exec"), names)
            finally:
                os.chdir(before)
                names["pipe"].close()


if __name__ == "__main__":
    unittest.main()
