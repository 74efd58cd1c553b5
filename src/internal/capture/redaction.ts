/**
 * What of a table is excluded and masked: columns, and paths inside json columns. From configuration to the shape of a table, and the
 * names by which differences and refusals call the parts.
 */
import type { Excluded, Mask, Masked, Policy, PolicyPath } from "./model.js"
import type { Masks, Paths } from "./generate/model.js"

/** One redacted part of a table. The path of a whole column is empty. */
export interface Redaction {
  readonly column: string
  readonly path: ReadonlyArray<string>
  readonly as: PolicyPath["as"]
}

export interface Redactions {
  readonly excluded: ReadonlyArray<string>
  readonly masked: ReadonlyArray<string>
  readonly masks: Masks
  readonly paths: Paths
}

/**
 * The column and the path that a name means. A column with the whole name wins. Otherwise the column is the longest part before
 * a dot that is the name of a column.
 */
const split = (name: string, columns: ReadonlyArray<string>): Omit<Redaction, "as"> => {
  if (columns.includes(name)) {
    return { column: name, path: [] }
  }
  const parts = name.split(".")
  for (let length = parts.length - 1; length > 0; length--) {
    const column = parts.slice(0, length).join(".")
    const path = parts.slice(length)
    if (columns.includes(column) && path.every((part) => part !== "")) {
      return { column, path }
    }
  }
  return { column: name, path: [] }
}

/** What an entry of `exclude` or `mask` means in a table with these columns. */
export const readRedaction = (
  entry: Excluded | Masked,
  columns: ReadonlyArray<string>,
  option: "exclude" | "mask"
): Redaction => {
  const usual = option === "exclude" ? "exclude" : "[masked]"
  if (typeof entry === "string") {
    return { ...split(entry, columns), as: usual }
  }
  const as: Redaction["as"] = option === "mask" && "as" in entry ? (entry.as ?? usual) : usual
  return entry.path === undefined
    ? { ...split(entry.column, columns), as }
    : { column: entry.column, path: entry.path, as }
}

const byName = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

/** The shape's form of redactions, in a fixed order: equal redactions give equal triggers. */
export const gather = (redactions: ReadonlyArray<Redaction>): Redactions => {
  const whole = redactions.filter(({ path }) => path.length === 0)
  const masked = whole.filter(({ as }) => as !== "exclude")
  const inside = redactions.filter(({ path }) => path.length > 0)
  const columnsInside = [...new Set(inside.map(({ column }) => column))].sort(byName)
  const columnsOf = (list: ReadonlyArray<Redaction>) => [...new Set(list.map(({ column }) => column))].sort(byName)
  return {
    excluded: columnsOf(whole.filter(({ as }) => as === "exclude")),
    masked: columnsOf(masked),
    masks: Object.fromEntries(
      columnsOf(masked).flatMap((column): ReadonlyArray<readonly [string, Mask]> => {
        const as = masked.find((each) => each.column === column)?.as
        return as === undefined || as === "exclude" || as === "[masked]" ? [] : [[column, as]]
      })
    ),
    paths: Object.fromEntries(
      columnsInside.map((column) => [
        column,
        inside
          .filter((each) => each.column === column)
          .map(({ as, path }) => ({ path, as }))
          .sort((a, b) => byName(JSON.stringify(a.path), JSON.stringify(b.path)))
      ])
    )
  }
}

/** The parts that are redacted, each by its name. */
export const redactionsOf = ({ excluded, masked, masks, paths }: Redactions): ReadonlyArray<Redaction> => [
  ...excluded.map((column) => ({ column, path: [], as: "exclude" as const })),
  ...masked.map((column) => ({ column, path: [], as: masks[column] ?? ("[masked]" as const) })),
  ...Object.entries(paths).flatMap(([column, inside]) => inside.map(({ as, path }) => ({ column, path, as })))
]

/** What a deployed policy redacts, in the fixed order: jsonb keeps the names of a document in an order of its own. */
export const redactionsOfPolicy = ({ exclude, mask, masks, paths }: Policy): Redactions =>
  gather(redactionsOf({ excluded: exclude, masked: mask, masks, paths }))

export const nameOf = ({ column, path }: Pick<Redaction, "column" | "path">): string => [column, ...path].join(".")

/** Names for differences: excluded parts, and masked parts with their masks. */
export const redactionNames = (redactions: Redactions) => {
  const redactionList = redactionsOf(redactions)
  return {
    exclude: redactionList.filter(({ as }) => as === "exclude").map(nameOf),
    mask: redactionList
      .filter(({ as }) => as !== "exclude")
      .map((each) => (each.as === "[masked]" ? nameOf(each) : `${nameOf(each)} as ${each.as}`))
  }
}

/**
 * What a deployed policy excludes and masks, each part by its name: `password`, `settings.token`, `iban as last4`.
 *
 * @since 0.1.0
 * @category rendering
 */
export const namesOfPolicy = (
  policy: Policy
): { readonly exclude: ReadonlyArray<string>; readonly mask: ReadonlyArray<string> } =>
  redactionNames(redactionsOfPolicy(policy))

/**
 * How much a redaction hides, from 0 (nothing) to 4 (everything). `null` and `[masked]` hide all but the existence of the
 * column.
 */
export const hiding = (as: Redaction["as"] | undefined): number =>
  as === undefined ? 0 : as === "last4" ? 1 : as === "hash" ? 2 : as === "exclude" ? 4 : 3
