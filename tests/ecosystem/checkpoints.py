"""A small checkpoint folder as `transformers` writes it: a Llama in two shards with a BPE tokenizer of its own."""

import random
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

VOCABULARY = 320
_WORDS = (
    *("the", "a", "river", "stone", "cloud", "loom", "thread", "weaves", "holds"),
    *("über", "naïve", "山", "川", "small", "old", "bright"),
)


def sentences(random: random.Random, count: int) -> list[str]:
    """Made-up sentences of a few words, some of them not ASCII."""
    return [" ".join(random.choices(_WORDS, k=8)).capitalize() + "." for _ in range(count)]


def make_checkpoint(folder: Path) -> Path:
    """Writes the folder; the same bytes every time."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences(random.Random(0), 300), trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=0,
    )
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder, max_shard_size="60KB")
    wrapped.save_pretrained(folder)
    return folder
