/**
 * The SQL of a table as a file, for migration tools.
 */
import { createHash } from "node:crypto"
import type { PrintedFile } from "./model.js"
import type { Resolved } from "./resolve.js"
import type { Step } from "./step.js"

export const printFile = ({ label, name }: Resolved, steps: ReadonlyArray<Step>): PrintedFile => {
  const statements = steps.flatMap(({ sql }) => sql)
  return {
    table: label,
    name: fileName(name),
    sql: [
      // A name may hold a line break, which would end the comment.
      `-- Captures ${label.replaceAll(/[\r\n\u0085\u2028\u2029]/g, " ")}. Run it in one transaction, as a role that owns the table and is a`,
      "-- member of the owner of Threadline's schema. It may be run again.",
      "set local lock_timeout = '3s';",
      // The policy has labels of partitions without quotes that they do not need.
      "set local quote_all_identifiers = off;",
      ...statements.map((statement) => `\n${statement};`),
      ""
    ].join("\n")
  }
}

/** Two names may differ only in characters that a file name cannot hold. They still get different files. */
const fileName = ({ name, schema }: { readonly schema: string; readonly name: string }): string => {
  const fileStem = `${schema}_${name}`.replaceAll(/[^A-Za-z0-9_]+/g, "_").toLowerCase()
  const exact = fileStem === `${schema}_${name}`
  const hash = createHash("sha256").update(`${schema}\0${name}`).digest("hex").slice(0, 8)
  return `capture_${fileStem}${exact ? "" : `_${hash}`}.sql`
}
