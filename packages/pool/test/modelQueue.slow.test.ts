/** More sequences of the model test of queues. */
process.env["POOLKIT_MODEL_QUEUE"] ??= String(50_000 * Number(process.env["POOLKIT_TIMES"] ?? 1))
await import("./modelQueue.test.ts")
