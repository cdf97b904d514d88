/** Request bodies of `HttpClient` as connections take them. */
import * as Effect from "effect/Effect"
import type { HttpClientRequest } from "effect/http"
import * as Stream from "effect/Stream"
import type { Readable } from "node:stream"
import type { HttpRequest } from "../HttpConnection.ts"
import { encodeFormData } from "./clientFormData.ts"

/** What is sent: a body, and the headers that go with it. */
export interface ClientBody {
  readonly headers: Readonly<Record<string, string>>
  readonly body: HttpRequest["body"]
  /** Frees what a body that was not sent holds. */
  readonly abandon?: (() => void) | undefined
}

/** Throws for what cannot be sent. */
export const encodeBody = ({ body, headers }: HttpClientRequest.HttpClientRequest): ClientBody => {
  switch (body._tag) {
    case "Empty":
      return { headers, body: undefined }
    case "Uint8Array":
      return { headers, body: body.text ?? body.body }
    case "Stream":
      return { headers, body: body.stream }
    case "FormData":
      return withFormData(headers, body.formData)
    case "Raw":
      return encodeRaw(headers, body.body)
  }
}

/** Everything that undici takes as a body, and form data of any origin. */
const encodeRaw = (headers: ClientBody["headers"], body: unknown): ClientBody => {
  if (body === undefined || body === null) return { headers, body: undefined }
  const bytes = bytesOf(body)
  if (bytes !== undefined) return { headers, body: bytes }
  if (body instanceof Blob) return withBlob(headers, body)
  if (isFormData(body)) return withFormData(headers, body)
  if (isAsyncIterable(body)) {
    const chunks = Stream.fromAsyncIterable(body, (error) => error)
    return { headers, body: Stream.mapEffect(chunks, bytesOfChunk), abandon: guard(body) }
  }
  if (typeof body === "object" && Symbol.iterator in body) {
    const chunks = Stream.fromIterable(body as Iterable<unknown>)
    return { headers, body: Stream.mapEffect(chunks, bytesOfChunk) }
  }
  throw new TypeError("the body is not text, bytes, a Blob, FormData, a stream or an iterable of bytes")
}

const withFormData = (headers: ClientBody["headers"], form: FormData): ClientBody => {
  const { body, contentType } = encodeFormData(form)
  const typed = { ...headers, "content-type": contentType }
  return typeof body === "string" ? { headers: typed, body } : withBlob(typed, body)
}

/** Streamed, because a blob may be a file of any size. */
const withBlob = (headers: ClientBody["headers"], blob: Blob): ClientBody => ({
  headers: {
    "content-length": String(blob.size),
    ...(blob.type !== "" && { "content-type": blob.type }),
    ...headers
  },
  body: Stream.fromReadableStream({ evaluate: () => blob.stream(), onError: (error) => error })
})

/** Of any package, such as undici's. */
const isFormData = (body: unknown): body is FormData => Object.prototype.toString.call(body) === "[object FormData]"

const isAsyncIterable = (body: unknown): body is AsyncIterable<unknown> =>
  typeof body === "object" && body !== null && Symbol.asyncIterator in body

/**
 * A stream of Node that fails before it is read would end the process, and one
 * that is never read would keep its file open.
 */
const guard = (body: object): (() => void) | undefined => {
  if (!isNodeStream(body)) return undefined
  body.on("error", () => {})
  return () => body.destroy()
}

const isNodeStream = (body: object): body is Readable =>
  "on" in body && typeof body.on === "function" && "destroy" in body && typeof body.destroy === "function"

const bytesOf = (value: unknown): string | Uint8Array | undefined => {
  if (typeof value === "string" || value instanceof Uint8Array) return value
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
  return value instanceof ArrayBuffer ? new Uint8Array(value) : undefined
}

const bytesOfChunk = (chunk: unknown): Effect.Effect<Uint8Array, TypeError> => {
  const bytes = bytesOf(chunk)
  if (bytes === undefined) return Effect.fail(new TypeError("a chunk of the body is neither text nor bytes"))
  return Effect.succeed(typeof bytes === "string" ? Buffer.from(bytes) : bytes)
}
