import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Stream from "effect/Stream"
import { RequestBodyFailed } from "../HttpError.ts"

/** The stream of a request's body as undici wants it. Nothing runs before the first pull. */
export interface RequestStream extends AsyncIterable<Uint8Array> {
  /** Interrupts the stream, also while it is being pulled. */
  readonly close: () => void
}

export const makeRequestStream = (
  stream: Stream.Stream<Uint8Array, unknown>,
  context: Context.Context<never>
): RequestStream => {
  const marked = Stream.catchCause(stream, (cause) =>
    Stream.fail(new RequestBodyFailed({ cause: Cause.squash(cause) }))
  )
  let iterator: AsyncIterator<Uint8Array> | undefined = Stream.toAsyncIterableWith(marked, context)[
    Symbol.asyncIterator
  ]()
  const next = async (): Promise<IteratorResult<Uint8Array>> => {
    const result = (await iterator?.next()) ?? over
    // Whoever sends it keeps this object until the response has come, and the context may lead to a span that knows
    // the response: kept, the response would never be garbage.
    if (result.done === true) iterator = undefined
    return result
  }
  const close = (): void => {
    // The exchange is over, so nobody is left to hear of a finalizer that dies.
    iterator?.return?.().catch(() => {})
    iterator = undefined
  }
  const end = async (): Promise<IteratorResult<Uint8Array>> => {
    close()
    return over
  }
  return { [Symbol.asyncIterator]: () => ({ next, return: end }), close }
}

const over: IteratorResult<Uint8Array> = { done: true, value: undefined }
