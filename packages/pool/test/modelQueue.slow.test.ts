/** More sequences of the model test of queues. */
process.env["POOLKIT_MODEL_QUEUE"] ??= "50000"
await import("./modelQueue.test.ts")
