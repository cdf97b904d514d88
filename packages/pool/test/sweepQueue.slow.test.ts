/** More cases of the sweep over queues; `POOLKIT_SWEEP_QUEUE=1` runs all. */
process.env["POOLKIT_SWEEP_QUEUE"] ??= "4"
await import("./sweepQueue.test.ts")
