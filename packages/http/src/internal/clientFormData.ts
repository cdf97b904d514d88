/** Form data as `multipart/form-data` (RFC 7578, and the HTML standard where it is stricter). */
import { randomUUID } from "node:crypto"

/** Text if there are no files; else a blob, whose size is known and whose files are read when they are sent. */
export const encodeFormData = (form: FormData): { readonly contentType: string; readonly body: string | Blob } => {
  const boundary = `----poolkit-${randomUUID()}`
  const parts: Array<string | Blob> = []
  for (const [name, value] of form) {
    const disposition = `--${boundary}\r\nContent-Disposition: form-data; name="${escape(newlines(name))}"`
    if (typeof value === "string") {
      parts.push(`${disposition}\r\n\r\n${newlines(value)}\r\n`)
    } else {
      const type = value.type === "" ? "application/octet-stream" : value.type
      parts.push(`${disposition}; filename="${escape(value.name)}"\r\nContent-Type: ${type}\r\n\r\n`, value, "\r\n")
    }
  }
  parts.push(`--${boundary}--\r\n`)
  const isText = parts.every((part) => typeof part === "string")
  return { contentType: `multipart/form-data; boundary=${boundary}`, body: isText ? parts.join("") : new Blob(parts) }
}

const escape = (name: string): string => name.replaceAll("\n", "%0A").replaceAll("\r", "%0D").replaceAll('"', "%22")

const newlines = (text: string): string => text.replaceAll(/\r\n?|\n/g, "\r\n")
