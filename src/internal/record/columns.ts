/**
 * The names that the columns of a table had. An image shows the names of its time. Callers use the present names.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { Fragment } from "@effect/sql/Statement"
import type { RowImage } from "./change.js"
import { stringify } from "../core/json.js"
import type { JsonObject, JsonValue } from "../core/jsonValue.js"
import type { ColumnSpan, Table, TableSpan } from "./tables.js"

type Time = Pick<TableSpan, "since" | "until">

/** A time, and the names of columns in it. */
export interface Naming extends Time {
  readonly names: ReadonlyMap<string, ReadonlyArray<string>>
}

const holds = ({ since, until }: Time, at: string): boolean =>
  (since === null || since <= at) && (until === null || at < until)

/** Instants are strings that sort in the order of time. This one is before all of them. */
const beginning = ""

/** The names that a column was recorded under at an instant. The present name is one of them, unless another column had it then. */
const namesAt = ({ columns, present }: Table, column: string, at: string): ReadonlyArray<string> => {
  const valid = columns.filter((span) => holds(span, at))
  const former = valid.filter((span) => span.column === column).map(({ formerly }) => formerly)
  const isAnothers =
    (former.length > 0 || present.includes(column)) &&
    valid.some((span) => span.formerly === column && span.column !== column)
  return [...new Set(isAnothers ? former : [...former, column])]
}

/**
 * Times, each with the names of some columns. A new time begins when one of the names changed. If none ever changed, there is one
 * time without ends.
 */
export const namings = (table: Table, columns: ReadonlyArray<string>): ReadonlyArray<Naming> => {
  const spans = table.columns.filter(({ column, formerly }) => columns.includes(column) || columns.includes(formerly))
  const ends = [...new Set(spans.flatMap(({ since, until }) => [since ?? [], until ?? []].flat()))].sort()
  return [null, ...ends].map((since, place) => ({
    since,
    until: ends[place] ?? null,
    names: new Map(columns.map((column) => [column, namesAt(table, column, since ?? beginning)]))
  }))
}

/** The condition that an image contains a document whose fields had these names. */
export const contains = (
  sql: SqlClient,
  image: Fragment,
  document: JsonObject,
  { names }: Pick<Naming, "names">
): Fragment => {
  const holdsAll = (fields: JsonObject): Fragment => sql`${image} @> ${stringify(fields)}::jsonb`
  const renamed = Object.entries(document).filter(([field]) => {
    const [first, ...others] = names.get(field) ?? [field]
    return first !== field || others.length > 0
  })
  if (renamed.length === 0) {
    return holdsAll(document)
  }
  const rest = Object.fromEntries(
    Object.entries(document).filter(([field]) => !renamed.some(([other]) => other === field))
  )
  return sql.and([
    ...(Object.keys(rest).length === 0 ? [] : [holdsAll(rest)]),
    ...renamed.map(([field, value]) => {
      const alternatives = (names.get(field) ?? []).map((name) => holdsAll({ [name]: value }))
      return alternatives.length === 0 ? sql`false` : sql.or(alternatives)
    })
  ])
}

/**
 * The image of a change `c` for a condition of the caller: under the names that its columns have now, and those of its time that no
 * other column has now. The same rules as those of `renamedColumns`.
 */
export const withPresentNames = (sql: SqlClient, image: Fragment, { columns }: Pick<Table, "columns">): Fragment =>
  columns.length === 0
    ? image
    : sql`${image} || coalesce((
        with valid as (
          select s."column", s.formerly
          from pg_catalog.jsonb_to_recordset(${stringify(columns.map((span) => ({ ...span })))}::jsonb)
            s ("column" text, formerly text, since timestamptz, until timestamptz)
          where c.captured_at >= coalesce(s.since, '-infinity')
            and c.captured_at < coalesce(s.until, 'infinity')
            and ${image} -> s.formerly is not null
        )
        select pg_catalog.jsonb_object_agg(v."column", ${image} -> v.formerly)
        from valid v
        where ${image} -> v."column" is null
          or exists (select from valid o where o.formerly = v."column")
      ), '{}')`

/** The names that something was recorded under, if they are not the present ones. */
export interface RecordedAs {
  /** The former name of the table. */
  readonly table?: string
  /** Present names of columns, each with its former name. */
  readonly columns?: { readonly [column: string]: string }
}

/** For the columns of an image that have other names now: recorded name to present name. */
const renamedColumns = (
  image: RowImage,
  columns: ReadonlyArray<ColumnSpan>,
  at: string
): ReadonlyMap<string, string> => {
  const valid = columns.filter((span) => holds(span, at) && Object.hasOwn(image, span.formerly))
  return new Map(
    valid
      // An image with the present names has the column under its present name.
      .filter(({ column }) => !Object.hasOwn(image, column) || valid.some(({ formerly }) => formerly === column))
      .map(({ column, formerly }) => [formerly, column])
  )
}

/** For the columns of an image: present name to recorded name. Undefined if no name differs. */
export const recordedColumns = (
  image: RowImage,
  columns: ReadonlyArray<ColumnSpan>,
  at: string
): RecordedAs["columns"] => {
  const renamed = [...renamedColumns(image, columns, at)].map(([formerly, column]) => [column, formerly] as const)
  return renamed.length === 0 ? undefined : Object.fromEntries(renamed)
}

/** An image under the names that its columns have now. */
export const presentImage = (image: RowImage, recorded: RecordedAs["columns"]): RowImage => {
  if (recorded === undefined) {
    return image
  }
  const present = new Map(Object.entries(recorded).map(([column, formerly]) => [formerly, column]))
  return Object.fromEntries(
    Object.entries(image).map(([name, value]): [string, JsonValue] => [present.get(name) ?? name, value])
  )
}
