"""Training on ``transformers.Trainer``, shared by the stages; imported only when something is trained."""
