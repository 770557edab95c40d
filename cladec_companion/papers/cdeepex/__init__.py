"""CDeepEx: Contrastive Deep Explanations (Feghahati, Shelton, Pazzani and Tang): why this class and not that one."""
