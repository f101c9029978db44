"""From a picture back to the noise it was sampled from; the pipeline is not touched."""
