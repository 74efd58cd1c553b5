/**
 * Names of tables as people write them in SQL: `posts` (in `public`), `public.posts`, `"Odd.Schema"."T"`.
 */
import * as Either from "effect/Either"
import { InvalidRequest } from "../../ThreadlineError.js"
import { isStorable } from "./text.js"

export interface TableName {
  readonly schema: string
  readonly name: string
}

const maxBytes = 63

const part = /(?:"((?:[^"\0]|"")+)"|([A-Za-z_\u0080-\u{10ffff}][A-Za-z0-9_$\u0080-\u{10ffff}]*))/uy

// PostgreSQL folds only ASCII letters of unquoted names.
const fold = (name: string): string => name.replaceAll(/[A-Z]+/g, (letters) => letters.toLowerCase())

const rule = `must be a table name as in SQL: posts, public.posts or "Odd.Schema"."T"`

/** Reads the name of a table; `field` is the input that an `InvalidRequest` names. */
export const parse = (text: string, field: string = "table"): Either.Either<TableName, InvalidRequest> => {
  // A caller in JavaScript may give anything.
  if (typeof text !== "string" || !isStorable(text)) {
    return Either.left(new InvalidRequest({ field, rule }))
  }
  const names: Array<string> = []
  let at = 0
  for (;;) {
    part.lastIndex = at
    const match = part.exec(text)
    if (match === null) {
      return Either.left(new InvalidRequest({ field, rule }))
    }
    const [matched, quoted, plain] = match
    names.push(quoted === undefined ? fold(plain ?? "") : quoted.replaceAll(`""`, `"`))
    at += matched.length
    if (at === text.length) {
      break
    }
    if (text.charAt(at) !== ".") {
      return Either.left(new InvalidRequest({ field, rule }))
    }
    at++
  }
  const [first, second, ...surplus] = names
  if (first === undefined || surplus.length > 0) {
    return Either.left(
      new InvalidRequest({ field, rule: "must be a table or a schema and a table, without a database" })
    )
  }
  if (names.some((name) => Buffer.byteLength(name) > maxBytes)) {
    return Either.left(new InvalidRequest({ field, rule: `must not have a name of more than ${maxBytes} bytes` }))
  }
  return Either.right(second === undefined ? { schema: "public", name: first } : { schema: first, name: second })
}

/** Reserved words of PostgreSQL 15 to 18: as a name they need quotes. */
const reserved = new Set(
  `all analyse analyze and any array as asc asymmetric authorization binary both case cast check collate collation column
  concurrently constraint create cross current_catalog current_date current_role current_schema current_time
  current_timestamp current_user default deferrable desc distinct do else end except false fetch for foreign freeze from
  full grant group having ilike in initially inner intersect into is isnull join lateral leading left like limit localtime
  localtimestamp natural not notnull null offset on only or order outer overlaps placing primary references returning right
  select session_user similar some symmetric system_user table tablesample then to trailing true union unique user using
  variadic verbose when where window with`.split(/\s+/)
)

/** Whether a word is one of the language itself, and never a name without quotes. */
export const isReserved = (word: string): boolean => reserved.has(word.toLowerCase())

/** Writes one name as SQL reads it back: in quotes only if it needs them. */
export const quote = (name: string): string =>
  /^[a-z_][a-z0-9_$]*$/.test(name) && !reserved.has(name) ? name : `"${name.replaceAll(`"`, `""`)}"`

/** Writes the name of a table, always with its schema, so that SQL and `parse` read it back. */
export const format = ({ name, schema }: TableName): string => `${quote(schema)}.${quote(name)}`

/** Whether two strings name the same table; false if one of them is not the name of a table. */
export const same = (one: string, other: string): boolean =>
  Either.getOrElse(
    Either.zipWith(parse(one), parse(other), (a, b) => a.schema === b.schema && a.name === b.name),
    () => false
  )
