/** More sequences of the model test of balances. */
process.env["POOLKIT_MODEL_BALANCE"] ??= "20000"
await import("./BalancePool.model.test.ts")
