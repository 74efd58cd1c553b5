/**
 * The security headers of every answer. The browser may not load, frame, sniff or store anything, or send it elsewhere.
 */
import { createHash } from "node:crypto"

/** The hash of an inline style or script for a content security policy. */
export const hashOf = (text: string): string => `'sha256-${createHash("sha256").update(text, "utf8").digest("base64")}'`

/** Hashes of the inline styles and scripts that an answer may use. */
export interface Policy {
  readonly styles: ReadonlyArray<string>
  readonly scripts: ReadonlyArray<string>
}

const directives = ({ scripts, styles }: Policy): string =>
  [
    "default-src 'none'",
    `style-src ${styles.length === 0 ? "'none'" : styles.join(" ")}`,
    `script-src ${scripts.length === 0 ? "'none'" : scripts.join(" ")}`,
    // The live timeline.
    `connect-src ${scripts.length === 0 ? "'none'" : "'self'"}`,
    // The icon of the tab.
    "img-src data:",
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'"
  ].join("; ")

/** The headers of an answer. By default it may use no styles and no scripts. */
export const securityHeaders = (
  policy: Policy = { styles: [], scripts: [] }
): ReadonlyArray<readonly [string, string]> => [
  ["content-security-policy", directives(policy)],
  ["x-content-type-options", "nosniff"],
  ["x-frame-options", "DENY"],
  ["cache-control", "no-store"],
  ["referrer-policy", "same-origin"],
  ["cross-origin-opener-policy", "same-origin"],
  ["cross-origin-resource-policy", "same-origin"],
  ["permissions-policy", "camera=(), geolocation=(), microphone=()"],
  ["x-robots-tag", "noindex, nofollow"]
]
