/** The kinds of files that pages offer. The name of a kind is the ending of its file name. */
import type * as ExportJobs from "../../ExportJobs.js"
import { contractColumns, type Format, personColumns, type Options as ExportOptions } from "../../Export.js"

type Options = Pick<ExportOptions, "format" | "columns" | "shape">

const kinds = {
  csv: { label: "CSV", options: { format: "csv" } },
  "people.csv": { label: "CSV for people", options: { format: "csv", columns: personColumns } },
  json: { label: "JSON", options: { format: "json" } },
  ndjson: { label: "NDJSON", options: { format: "ndjson" } },
  parquet: { label: "Parquet", options: { format: "parquet" } },
  "ocsf.ndjson": { label: "OCSF", options: { format: "ndjson", shape: "ocsf" } },
  "cloudevents.ndjson": { label: "CloudEvents", options: { format: "ndjson", shape: "cloudevents" } },
  "debezium.ndjson": { label: "Debezium", options: { format: "ndjson", shape: "debezium" } }
} as const satisfies Readonly<Record<string, { readonly label: string; readonly options: Options }>>

export type ExportKind = keyof typeof kinds

const everyKind = Object.keys(kinds) as ReadonlyArray<ExportKind>

/** The kinds whose format is available. */
export const kindsOf = (formats: ReadonlyArray<Format>): ReadonlyArray<ExportKind> =>
  everyKind.filter((kind) => formats.includes(kinds[kind].options.format))

/** The kinds that a list offers for direct download. NDJSON is meant for other systems: it is queued as a job. */
export const kindsOfLists = (formats: ReadonlyArray<Format>): ReadonlyArray<ExportKind> =>
  kindsOf(formats).filter((kind) => !kind.endsWith(".ndjson"))

export const kindNamed = (name: string | null): ExportKind | undefined => everyKind.find((kind) => kind === name)

export const labelOf = (kind: ExportKind): string => kinds[kind].label

export const optionsOf = (kind: ExportKind): Options => kinds[kind].options

/** The label of the kind that a job's request matches. */
export const labelOfRequest = ({ columns, format, shape }: ExportJobs.Job["request"]): string => {
  // A job stores its columns: all of them if none were chosen.
  const chosen = columns?.join() === contractColumns.join() ? undefined : columns
  const isOf = (kind: ExportKind): boolean => {
    const options = optionsOf(kind)
    return (
      options.format === format &&
      (options.shape ?? null) === (shape ?? null) &&
      JSON.stringify(options.columns ?? null) === JSON.stringify(chosen ?? null)
    )
  }
  const kind = everyKind.find(isOf)
  return kind === undefined ? `${format.toUpperCase()} of chosen columns` : labelOf(kind)
}
