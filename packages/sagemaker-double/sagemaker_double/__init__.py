"""A double of AWS that runs SageMaker's jobs as processes, for tests and the demo. Nothing here ships in a wheel or an image."""
