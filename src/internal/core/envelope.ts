/**
 * Documents that travel through a queue, with a version, a time, and a signature if there is a key (HMAC-SHA-256 in base64url).
 * Their size is limited.
 */
import * as Either from "effect/Either"
import { createHmac, timingSafeEqual } from "node:crypto"
import { largestEnvelope } from "./limits.js"

const version = 1

const signatureOf = (key: string, sealed: string, document: string): string =>
  createHmac("sha256", key).update(`${version}\n${sealed}\n${document}`).digest("base64url")

/** A document, sealed now. */
export const seal = (document: string, now: number, key: string | undefined): Either.Either<string, string> => {
  const sealed = new Date(now).toISOString()
  const text = JSON.stringify({
    v: version,
    sealed,
    context: document,
    ...(key === undefined ? {} : { signature: signatureOf(key, sealed, document) })
  })
  return Buffer.byteLength(text) > largestEnvelope
    ? Either.left(`must not exceed ${largestEnvelope} bytes: put less into meta`)
    : Either.right(text)
}

const isSame = (given: unknown, expected: string): boolean => {
  const a = Buffer.from(typeof given === "string" ? given : "")
  const b = Buffer.from(expected)
  return a.length === b.length && timingSafeEqual(a, b)
}

const parse = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** The document of an envelope, or the rule that the envelope breaks. Never says what is in it. */
export const open = (
  envelope: unknown,
  now: number,
  { key, maxAge }: { readonly key: string | undefined; readonly maxAge: number | undefined }
): Either.Either<object, string> => {
  if (typeof envelope !== "string" || Buffer.byteLength(envelope) > largestEnvelope) {
    return Either.left(`must be a string of at most ${largestEnvelope} bytes`)
  }
  const parsed = parse(envelope)
  if (typeof parsed !== "object" || parsed === null || !("v" in parsed)) {
    return Either.left("must be what AuditContext.toEnvelope gave")
  }
  if (parsed.v !== version) {
    return Either.left("has a version that this Threadline does not know")
  }
  if (
    !("context" in parsed) ||
    typeof parsed.context !== "string" ||
    !("sealed" in parsed) ||
    typeof parsed.sealed !== "string"
  ) {
    return Either.left("must be what AuditContext.toEnvelope gave")
  }
  const signature = "signature" in parsed ? parsed.signature : undefined
  if (key !== undefined && !isSame(signature, signatureOf(key, parsed.sealed, parsed.context))) {
    return Either.left("is not signed with the key, or was changed")
  }
  const age = now - Date.parse(parsed.sealed)
  // Clocks differ a little, so a minute in the future is accepted, and no more.
  if (maxAge !== undefined && !(age <= maxAge && age >= -60_000)) {
    return Either.left("is too old")
  }
  const document = parse(parsed.context)
  return typeof document === "object" && document !== null && !Array.isArray(document)
    ? Either.right(document)
    : Either.left("must be what AuditContext.toEnvelope gave")
}
