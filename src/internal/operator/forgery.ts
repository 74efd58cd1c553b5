/** Whether a form was sent by one of our pages, for this viewer. */
import { createHmac, timingSafeEqual } from "node:crypto"
import type * as Actor from "../../Actor.js"

/** Proves that a form was made for a viewer. Another site cannot read it. */
export const tokenOf = (secret: string, viewer: Actor.Actor | undefined): string =>
  createHmac("sha256", secret)
    .update(
      viewer === undefined ? "nobody" : JSON.stringify([viewer.type, viewer.type === "anonymous" ? null : viewer.id])
    )
    .digest("base64url")

export const sameToken = (given: string | null, expected: string): boolean => {
  const [one, other] = [Buffer.from(given ?? ""), Buffer.from(expected)]
  return one.length === other.length && timingSafeEqual(one, other)
}

interface Sent {
  readonly header: (name: string) => string | undefined
}

/**
 * Whether a browser says that a request comes from this very site. A browser that says nothing of it is refused: all that are in use
 * send one of the two headers with a form.
 */
export const isSameOrigin = ({ header }: Sent, trustProxy: boolean): boolean => {
  const site = header("sec-fetch-site")
  const origin = header("origin")
  if (site !== undefined && site !== "same-origin") {
    return false
  }
  if (origin === undefined || origin === "null") {
    return site === "same-origin"
  }
  const forwarded = trustProxy ? header("x-forwarded-host")?.split(",")[0]?.trim() : undefined
  const host = forwarded ?? header("host")
  try {
    return host !== undefined && new URL(origin).host === host.toLowerCase()
  } catch {
    return false
  }
}
