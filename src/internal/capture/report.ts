/**
 * How the parts of a status report their findings.
 */
import type { Finding } from "./finding.js"

/** A finding, without the fields that all findings of a table share. */
export type Report = (finding: Reported) => void

type Reported = Finding extends infer F
  ? F extends Finding
    ? Omit<F, "table" | "subjects"> & { readonly subjects?: ReadonlyArray<string> }
    : never
  : never
