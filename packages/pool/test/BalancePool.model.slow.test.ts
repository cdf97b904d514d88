/** More sequences of the model test of balances. */
process.env["POOLKIT_MODEL_BALANCE"] ??= String(20_000 * Number(process.env["POOLKIT_TIMES"] ?? 1))
await import("./BalancePool.model.test.ts")
