/**
 * A throwaway certificate for the loopback address.
 */
import { generate } from "selfsigned"

export const host = "127.0.0.1"

export const makeCertificate = async (): Promise<{ readonly key: string; readonly cert: string }> => {
  const { cert, private: key } = await generate([{ name: "commonName", value: host }], {
    keyType: "ec",
    algorithm: "sha256",
    notBeforeDate: new Date(Date.now() - 3_600_000),
    notAfterDate: new Date(Date.now() + 24 * 3_600_000),
    extensions: [
      { name: "basicConstraints", cA: true },
      { name: "subjectAltName", altNames: [{ type: 7, ip: host }] }
    ]
  })
  return { key, cert }
}
