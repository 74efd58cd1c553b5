/** Checks that a form was sent by one of these pages, for this viewer. */
import { createHmac, timingSafeEqual } from "node:crypto"
import type * as Actor from "../../Actor.js"

/** The token of a viewer's forms. Another site cannot read it. */
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

interface RequestHeaders {
  readonly header: (name: string) => string | undefined
}

/**
 * Whether the browser says that a request comes from this origin. A request without both headers is refused: every
 * current browser sends one of them with a form.
 */
export const isSameOrigin = ({ header }: RequestHeaders, trustProxy: boolean): boolean => {
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
