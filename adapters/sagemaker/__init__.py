"""Amazon SageMaker: real-time, serverless and asynchronous endpoints."""
