"""The tiny recipe, cut to three stages of one epoch each."""

SHORT = {
    "finetune": {"epochs": 1, "learning_rate": 1e-3},
    "assistant": {"epochs": 1, "learning_rate": 1e-3},
    "evaluate": {"thresholds": [0.2, 0.6]},
    "stages": ["finetune", "assistant", "evaluate"],
}
