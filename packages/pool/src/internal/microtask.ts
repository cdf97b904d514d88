/**
 * A promise whose reactions run in a microtask. Node makes an `AsyncResource`
 * for each task of `queueMicrotask`, which costs a tenth of a contended loan.
 */
export const microtask: Promise<void> = Promise.resolve()
