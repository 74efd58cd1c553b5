/**
 * Signed links to files that the process of the host serves. A link says which job it is for and when it expires.
 */
import * as Either from "effect/Either"
import { createHmac, timingSafeEqual } from "node:crypto"
import { isId } from "../../core/request.js"
import { ExportError } from "../exportError.js"

const version = "1"

const signatureOf = (key: string, text: string): string =>
  createHmac("sha256", key).update(`threadline export ${text}`).digest("base64url")

/**
 * The signed token of a link: version, job, expiry in base 36, HMAC-SHA-256 in base64url. `until` is in milliseconds since
 * 1970.
 */
export const tokenOf = (key: string, job: string, until: number): string => {
  const text = `${version}.${job}.${until.toString(36)}`
  return `${text}.${signatureOf(key, text)}`
}

// One sentence for every mistake. Different sentences would help a forger.
const refused = () =>
  Either.left(new ExportError({ reason: "LinkRefused", detail: "this link is not valid, or no longer" }))

const same = (a: string, b: string): boolean => {
  const [left, right] = [Buffer.from(a), Buffer.from(b)]
  return left.length === right.length && timingSafeEqual(left, right)
}

/** The job of a token, if the token is valid now. */
export const jobOfToken = (key: string, token: unknown, now: number): Either.Either<string, ExportError> => {
  const [writtenVersion, job = "", until = "", signature = "", ...surplus] =
    typeof token === "string" ? token.split(".") : []
  return writtenVersion === version &&
    surplus.length === 0 &&
    isId(job) &&
    /^[0-9a-z]{1,11}$/.test(until) &&
    same(signature, signatureOf(key, `${version}.${job}.${until}`)) &&
    Number.parseInt(until, 36) > now
    ? Either.right(job)
    : refused()
}
