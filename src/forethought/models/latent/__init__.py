"""Models that think in a latent state, which they learn to see in pictures."""
