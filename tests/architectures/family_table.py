"""Tiny configurations of many families, and the task heads that each is checked with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import transformers as hf

TEXT: dict[str, Any] = {
    "vocab_size": 120,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "num_labels": 3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GROUPED = TEXT | {"num_key_value_heads": 2}
WIDE = GROUPED | {"head_dim": 16}
IMAGES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 32,
    "patch_size": 8,
    "num_labels": 3,
}
SEQ2SEQ: dict[str, Any] = {
    "vocab_size": 120,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 64,
    "num_labels": 3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
}
T5: dict[str, Any] = {
    "vocab_size": 120,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_heads": 4,
    "num_labels": 3,
    "pad_token_id": 0,
    "eos_token_id": 2,
    "decoder_start_token_id": 0,
}
DEBERTA = TEXT | {
    "relative_attention": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_buckets": 8,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
}
MOE = GROUPED | {
    "moe_intermediate_size": 24,
    "shared_expert_intermediate_size": 40,
    "num_experts": 4,
    "num_experts_per_tok": 2,
}


ROBERTA = TEXT | {"pad_token_id": 1, "bos_token_id": 0}
FALCON = {k: v for k, v in TEXT.items() if k != "intermediate_size"} | {"ffn_hidden_size": 48}
OPT = {k: v for k, v in TEXT.items() if k != "intermediate_size"} | {"ffn_dim": 48}
WHISPER = {k: v for k, v in SEQ2SEQ.items() if k != "max_position_embeddings"} | {"decoder_start_token_id": 1}
SPEECH = {k: v for k, v in TEXT.items() if k != "max_position_embeddings"}
DINO = {k: v for k, v in IMAGES.items() if k != "intermediate_size"}


def _clip(**changes: Any) -> Any:
    text = {k: v for k, v in TEXT.items() if k not in ("num_labels", "pad_token_id")}
    return hf.CLIPConfig(text_config=text, vision_config=IMAGES, projection_dim=16)


bare, causal, masked = hf.AutoModel, hf.AutoModelForCausalLM, hf.AutoModelForMaskedLM
texts, tokens = hf.AutoModelForSequenceClassification, hf.AutoModelForTokenClassification
answers, images = hf.AutoModelForQuestionAnswering, hf.AutoModelForImageClassification
seq2seq, speech = hf.AutoModelForSeq2SeqLM, hf.AutoModelForSpeechSeq2Seq
ENCODER = (bare, texts, tokens, answers, masked)
DECODER = (bare, causal, texts)

# Family -> a configuration, and the auto classes. The first is checked with everything.
FAMILIES: dict[str, tuple[Callable[[], Any], tuple[Any, ...]]] = {
    "bert": (lambda: hf.BertConfig(**TEXT), ENCODER),
    "roberta": (lambda: hf.RobertaConfig(**ROBERTA), ENCODER),
    "xlm-roberta": (lambda: hf.XLMRobertaConfig(**ROBERTA), (bare, texts)),
    "electra": (lambda: hf.ElectraConfig(**TEXT, embedding_size=24), ENCODER),
    "distilbert": (
        lambda: hf.DistilBertConfig(
            vocab_size=120, dim=32, n_layers=2, n_heads=4, hidden_dim=48, max_position_embeddings=64
        ),
        ENCODER,
    ),
    "deberta-v2": (lambda: hf.DebertaV2Config(**DEBERTA), ENCODER),
    "deberta-v2 own matrices": (
        lambda: hf.DebertaV2Config(**DEBERTA | {"share_att_key": False}),
        (bare, texts),
    ),
    "deberta-v2 absolute": (lambda: hf.DebertaV2Config(**TEXT), (bare,)),
    "modernbert": (
        lambda: hf.ModernBertConfig(
            **TEXT | {"num_hidden_layers": 3},
            cls_token_id=1,
            sep_token_id=2,
            local_attention=4,
            global_attn_every_n_layers=2,
        ),
        ENCODER,
    ),
    "mpnet": (lambda: hf.MPNetConfig(**ROBERTA), ENCODER),
    "albert": (lambda: hf.AlbertConfig(**TEXT, embedding_size=24), ENCODER),
    "albert two groups": (
        lambda: hf.AlbertConfig(**TEXT | {"num_hidden_layers": 4}, embedding_size=24, num_hidden_groups=2),
        (bare, texts),
    ),
    "gpt2": (
        lambda: hf.GPT2Config(
            vocab_size=120,
            n_embd=32,
            n_layer=2,
            n_head=4,
            n_inner=48,
            n_positions=64,
            num_labels=3,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        ),
        DECODER,
    ),
    "gpt_neox": (lambda: hf.GPTNeoXConfig(**TEXT), DECODER),
    "gpt_neox in series": (lambda: hf.GPTNeoXConfig(**TEXT, use_parallel_residual=False), (bare,)),
    "opt": (
        lambda: hf.OPTConfig(**OPT, word_embed_proj_dim=32),
        DECODER,
    ),
    "opt projected": (
        lambda: hf.OPTConfig(**OPT, word_embed_proj_dim=24),
        DECODER,
    ),
    "opt post-norm": (
        lambda: hf.OPTConfig(
            **OPT,
            word_embed_proj_dim=24,
            do_layer_norm_before=False,
        ),
        (bare,),
    ),
    "llama": (lambda: hf.LlamaConfig(**GROUPED), (*DECODER, tokens, answers)),
    "llama tied": (lambda: hf.LlamaConfig(**GROUPED, tie_word_embeddings=True), (causal,)),
    "mistral": (lambda: hf.MistralConfig(**GROUPED, sliding_window=4), DECODER),
    "qwen2": (
        lambda: hf.Qwen2Config(**GROUPED, use_sliding_window=True, sliding_window=4, max_window_layers=1),
        DECODER,
    ),
    "qwen3": (lambda: hf.Qwen3Config(**WIDE), DECODER),
    "gemma": (lambda: hf.GemmaConfig(**WIDE), DECODER),
    "gemma2": (lambda: hf.Gemma2Config(**WIDE, sliding_window=4), DECODER),
    "gemma3": (
        lambda: hf.Gemma3TextConfig(**WIDE, sliding_window=4, sliding_window_pattern=2),
        (bare, causal),
    ),
    "phi": (lambda: hf.PhiConfig(**TEXT), DECODER),
    "phi3": (lambda: hf.Phi3Config(**GROUPED), DECODER),
    "falcon": (
        lambda: hf.FalconConfig(**FALCON),
        DECODER,
    ),
    "falcon grouped": (
        lambda: hf.FalconConfig(
            **FALCON,
            new_decoder_architecture=True,
            num_kv_heads=2,
        ),
        (bare, causal),
    ),
    "falcon alibi": (
        lambda: hf.FalconConfig(**FALCON, alibi=True),
        (bare, causal),
    ),
    "mixtral": (lambda: hf.MixtralConfig(**GROUPED, num_local_experts=4), DECODER),
    "qwen2_moe": (lambda: hf.Qwen2MoeConfig(**MOE), (bare, causal)),
    "qwen3_moe": (lambda: hf.Qwen3MoeConfig(**MOE, head_dim=16), (bare, causal)),
    "t5": (lambda: hf.T5Config(**T5), (bare, seq2seq)),
    "t5 gated": (
        lambda: hf.T5Config(**T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False),
        (bare, seq2seq),
    ),
    "bart": (lambda: hf.BartConfig(**SEQ2SEQ), (bare, seq2seq, texts)),
    "mbart": (lambda: hf.MBartConfig(**SEQ2SEQ, scale_embedding=True), (bare, seq2seq)),
    "vit": (lambda: hf.ViTConfig(**IMAGES), (bare, images)),
    "deit": (lambda: hf.DeiTConfig(**IMAGES), (bare, hf.DeiTForImageClassification)),
    "beit": (lambda: hf.BeitConfig(**IMAGES), (bare, images)),
    "beit with tables": (lambda: hf.BeitConfig(**IMAGES, use_relative_position_bias=True), (bare,)),
    "beit with one table": (
        lambda: hf.BeitConfig(**IMAGES, use_shared_relative_position_bias=True),
        (bare,),
    ),
    "swin": (
        lambda: hf.SwinConfig(
            image_size=32,
            patch_size=2,
            embed_dim=16,
            depths=[2, 2],
            num_heads=[2, 4],
            window_size=4,
            num_labels=3,
        ),
        (bare, images),
    ),
    "clip": (_clip, (bare,)),
    "clip text": (lambda: hf.CLIPTextConfig(**{k: v for k, v in TEXT.items() if k != "num_labels"}), (bare,)),
    "clip vision": (
        lambda: hf.CLIPVisionConfig(**{k: v for k, v in IMAGES.items() if k != "num_labels"}),
        (bare,),
    ),
    "whisper": (
        lambda: hf.WhisperConfig(
            **WHISPER,
            num_mel_bins=8,
            max_source_positions=20,
            max_target_positions=20,
            suppress_tokens=[],
            begin_suppress_tokens=[],
        ),
        (bare, speech),
    ),
}

# Families that no adapter names, with checks to leave out.
BY_STRUCTURE: dict[str, tuple[Callable[[], Any], tuple[str, ...]]] = {
    "layoutlm": (lambda: hf.LayoutLMConfig(**TEXT), ()),
    "stablelm": (lambda: hf.StableLmConfig(**GROUPED), ()),
    # The tracing exporter keeps the example's sizes in this family's norm of queries.
    "cohere": (lambda: hf.CohereConfig(**GROUPED), ("onnx",)),
    "granite": (lambda: hf.GraniteConfig(**GROUPED), ()),
    "starcoder2": (lambda: hf.Starcoder2Config(**GROUPED), ()),
    "olmo": (lambda: hf.OlmoConfig(**GROUPED), ()),
    "marian": (lambda: hf.MarianConfig(**SEQ2SEQ), ()),
    "dinov2": (lambda: hf.Dinov2Config(**DINO), ()),
    "siglip": (lambda: hf.SiglipVisionConfig(**IMAGES), ()),
    "wav2vec2": (
        lambda: hf.Wav2Vec2Config(
            **SPEECH,
            conv_dim=[16, 16],
            conv_kernel=[10, 3],
            conv_stride=[5, 2],
            num_conv_pos_embeddings=16,
            num_conv_pos_embedding_groups=4,
        ),
        (),
    ),
    "gptj": (
        lambda: hf.GPTJConfig(vocab_size=120, n_embd=32, n_layer=2, n_head=4, n_positions=64, rotary_dim=4),
        (),
    ),
    "gpt_neo": (
        lambda: hf.GPTNeoConfig(
            vocab_size=120,
            hidden_size=32,
            num_layers=2,
            num_heads=4,
            intermediate_size=48,
            max_position_embeddings=64,
            attention_types=[[["global", "local"], 1]],
            window_size=4,
        ),
        (),
    ),
}

# Families of which heads, or everything (None), is refused.
REFUSED: dict[str, tuple[Callable[[], Any], str | None]] = {
    "bloom": (lambda: hf.BloomConfig(vocab_size=120, hidden_size=32, n_layer=2, n_head=4), "heads"),
    "mpt": (
        lambda: hf.MptConfig(
            vocab_size=120, d_model=32, n_layers=2, n_heads=4, expansion_ratio=2, max_seq_len=64
        ),
        "heads",
    ),
    "swinv2": (
        lambda: hf.Swinv2Config(
            image_size=32, patch_size=2, embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=4
        ),
        "heads",
    ),
    "mamba": (
        lambda: hf.MambaConfig(vocab_size=120, hidden_size=32, num_hidden_layers=2, state_size=4),
        None,
    ),
    "xlnet": (lambda: hf.XLNetConfig(vocab_size=120, d_model=32, n_layer=2, n_head=4, d_inner=48), None),
}
