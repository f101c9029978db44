"""Mark what generative models make."""
