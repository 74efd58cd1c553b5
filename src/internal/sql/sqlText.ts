/**
 * The one place where text becomes SQL: identifiers and literals for statements that cannot bind values
 * (DDL, simple-protocol messages).
 */

/** Quotes an identifier. PostgreSQL has no identifier with a NUL. */
export const identifier = (name: string): string => `"${name.replaceAll("\0", "").replaceAll(`"`, `""`)}"`

/** Quotes a qualified name, `"schema"."name"`. */
export const qualified = (schema: string, name: string): string => `${identifier(schema)}.${identifier(name)}`

/**
 * Quotes a literal, whatever `standard_conforming_strings` says.
 */
export const literal = (value: string): string => {
  const escaped = value.replaceAll("\0", "").replaceAll("'", "''")
  return escaped.includes("\\") ? ` E'${escaped.replaceAll("\\", "\\\\")}'` : `'${escaped}'`
}

/** An array of strings as a literal, `array['a', 'b']::text[]`. */
export const textArray = (values: ReadonlyArray<string>): string => `array[${values.map(literal).join(", ")}]::text[]`
