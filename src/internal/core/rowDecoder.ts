/**
 * Decodes rows by their schemas, column by column. Nearly all columns are read as strings, and a page of changes has two thousand
 * of them. A string, one of several strings, null, and the JSON of `jsonb` are checked without the machinery of a schema, which
 * takes five times as long.
 */
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"

/** Gives the value of a column, or throws. */
type Column = (value: unknown) => unknown

export class Unreadable extends Error {}

const byHand: unique symbol = Symbol("threadline/rowDecoder")

/** A schema of strings that is decoded by `decode`. `decode` may throw. */
export const decodedBy = <A>(schema: Schema.Schema<A, string>, decode: (text: string) => A): Schema.Schema<A, string> =>
  schema.annotations({ [byHand]: (value: unknown) => decode(text(value)) })

const text = (value: unknown): string => {
  if (typeof value !== "string") {
    throw new Unreadable()
  }
  return value
}

const oneOf =
  (values: ReadonlySet<unknown>): Column =>
  (value) => {
    if (!values.has(value)) {
      throw new Unreadable()
    }
    return value
  }

const isNull = (ast: SchemaAST.AST): boolean => SchemaAST.isLiteral(ast) && ast.literal === null

const columnOf = (ast: SchemaAST.AST): Column => {
  const annotated = SchemaAST.getAnnotation<Column>(byHand)(ast)
  if (Option.isSome(annotated)) {
    return annotated.value
  }
  if (SchemaAST.isStringKeyword(ast)) {
    return text
  }
  if (SchemaAST.isLiteral(ast)) {
    return oneOf(new Set([ast.literal]))
  }
  if (SchemaAST.isUnion(ast)) {
    const literals = ast.types.filter(SchemaAST.isLiteral)
    if (literals.length === ast.types.length) {
      return oneOf(new Set(literals.map(({ literal }) => literal)))
    }
    const nonNullTypes = ast.types.filter((type) => !isNull(type))
    if (nonNullTypes.length < ast.types.length) {
      const column = columnOf(
        nonNullTypes.length === 1 && nonNullTypes[0] !== undefined
          ? nonNullTypes[0]
          : SchemaAST.Union.make(nonNullTypes)
      )
      return (value) => (value === null ? null : column(value))
    }
  }
  return Schema.decodeUnknownSync(Schema.make(ast))
}

interface Row {
  readonly [column: string]: unknown
}

const rowOf = (ast: SchemaAST.AST): Column => {
  if (SchemaAST.isUnion(ast)) {
    const members = ast.types.map(rowOf)
    return (row) => {
      for (const member of members) {
        try {
          return member(row)
        } catch {
          // It may fit another one.
        }
      }
      throw new Unreadable()
    }
  }
  if (!SchemaAST.isTypeLiteral(ast)) {
    return Schema.decodeUnknownSync(Schema.make(ast))
  }
  const columns = ast.propertySignatures.map(({ name, type }) => [String(name), columnOf(type)] as const)
  return (row) => {
    const decoded: Record<string, unknown> = {}
    for (const [name, column] of columns) {
      decoded[name] = column((row as Row)[name])
    }
    return decoded
  }
}

const decoders = new WeakMap<SchemaAST.AST, Column>()

/**
 * Decodes a row by a struct, or by the first of several structs that fits. Throws if none fits. Columns that the struct does not
 * name are left out.
 */
export const decoder = <A, I>(schema: Schema.Schema<A, I>): ((row: unknown) => A) => {
  const decodeRow = decoders.get(schema.ast) ?? rowOf(schema.ast)
  decoders.set(schema.ast, decodeRow)
  return decodeRow as (row: unknown) => A
}
