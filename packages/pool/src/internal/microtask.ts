/**
 * A promise whose reactions run in a microtask. Node makes an `AsyncResource`
 * for each task of `queueMicrotask`, and the line hands over once per loan.
 */
export const microtask: Promise<void> = Promise.resolve()
