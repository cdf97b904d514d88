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
  const iterator = Stream.toAsyncIterableWith(marked, context)[Symbol.asyncIterator]()
  return {
    [Symbol.asyncIterator]: () => iterator,
    close: () => {
      // The exchange is over, so nobody is left to hear of a finalizer that dies.
      iterator.return?.().catch(() => {})
    }
  }
}
