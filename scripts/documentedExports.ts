/**
 * Every export of a public module has a docstring with `@since` and `@category`, so that the reference can be generated from it.
 * A re-exported namespace and the docstring of a module need only `@since`. Overloads and optional fields have docstrings of their own,
 * because an editor shows these to a caller, and not that of the export. So do the optional fields that an interface has from the rooms
 * of `src/internal`.
 */
import { join, relative } from "node:path"
import ts from "typescript"

const root = join(import.meta.dirname, "..")

const docstringOf = (source: ts.SourceFile, node: ts.Node): string => {
  const last = ts.getLeadingCommentRanges(source.text, node.getFullStart())?.at(-1)
  const text = last === undefined ? "" : source.text.slice(last.pos, last.end)
  return text.startsWith("/**") ? text : ""
}

const isExported = (node: ts.Node): boolean =>
  ts.canHaveModifiers(node) && (ts.getModifiers(node) ?? []).some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword)

/** The members of an object type that stands where a caller reads it: an interface, an alias, a part of a union, an annotation. */
const membersOf = (node: ts.Node): ReadonlyArray<ts.TypeElement> => {
  if (ts.isInterfaceDeclaration(node)) {
    return node.members
  }
  const types: ReadonlyArray<ts.TypeNode> = ts.isTypeAliasDeclaration(node)
    ? ts.isUnionTypeNode(node.type)
      ? node.type.types
      : [node.type]
    : ts.isVariableDeclaration(node) || ts.isParameter(node)
      ? node.type === undefined
        ? []
        : [node.type]
      : []
  return types.filter(ts.isTypeLiteralNode).flatMap(({ members }) => [...members])
}

/** What an interface has from the rooms of `src/internal`, and nobody says what it is. */
const inheritedOf = (checker: ts.TypeChecker, node: ts.InterfaceDeclaration): ReadonlyArray<string> =>
  checker.getPropertiesOfType(checker.getTypeAtLocation(node)).flatMap((field) => {
    const signature = (field.declarations ?? [])
      .filter(ts.isPropertySignature)
      .find((one) => one.questionToken !== undefined && one.getSourceFile().fileName.includes("/src/internal/"))
    return signature !== undefined && field.getDocumentationComment(checker).length === 0
      ? [`the optional field ${field.name} needs a docstring in ${relative(root, signature.getSourceFile().fileName)}`]
      : []
  })

const complaintsOf = (
  checker: ts.TypeChecker,
  source: ts.SourceFile,
  report: (node: ts.Node, complaint: string) => void
): void => {
  const must = (node: ts.Node, tags: ReadonlyArray<string>): void => {
    const docstring = docstringOf(source, node)
    if (!tags.every((tag) => docstring.includes(tag))) {
      report(node, `an export needs a docstring with ${tags.join(" and ")}`)
    }
  }
  const mustSay = (node: ts.Node, what: string): void => {
    if (docstringOf(source, node) === "") {
      report(node, `${what} needs a docstring`)
    }
  }
  const inside = (node: ts.Node): void => {
    for (const member of membersOf(node)) {
      if (ts.isPropertySignature(member) && member.questionToken !== undefined) {
        mustSay(member, "an optional field")
      } else if (ts.isCallSignatureDeclaration(member) && ts.isVariableDeclaration(node)) {
        mustSay(member, "an overload")
      }
    }
    ts.forEachChild(node, inside)
  }
  const each = (statements: ReadonlyArray<ts.Statement>): void => {
    let previous: string | undefined
    for (const statement of statements) {
      if (ts.isExportDeclaration(statement)) {
        must(statement, ["@since"])
      } else if (isExported(statement)) {
        inside(statement)
        if (ts.isInterfaceDeclaration(statement) && statement.heritageClauses !== undefined) {
          inheritedOf(checker, statement).forEach((complaint) => report(statement, complaint))
        }
        if (ts.isModuleDeclaration(statement) && statement.body !== undefined && ts.isModuleBlock(statement.body)) {
          each(statement.body.statements)
        }
        const name = ts.isFunctionDeclaration(statement) ? statement.name?.text : undefined
        // The tags are those of the first overload. What implements them comes last, and is shown to nobody.
        if (name === undefined || name !== previous) {
          must(statement, ["@since", "@category"])
        } else if (ts.isFunctionDeclaration(statement) && statement.body === undefined) {
          mustSay(statement, "an overload")
        }
        previous = name
      }
    }
  }
  each(source.statements)
}

/** The public modules: those that stand in `src` itself or in a folder of it that is not `internal`. */
export const publicModules: ReadonlyArray<string> = ts.sys
  .readDirectory(join(root, "src"), [".ts"])
  .filter((path) => !path.includes("/src/internal/"))

/** What is missing in the docstrings of public modules, each with its place. */
export const undocumented = (program: ts.Program): ReadonlyArray<string> =>
  publicModules.flatMap((path) => {
    const source = program.getSourceFile(path)
    if (source === undefined) {
      return [`${relative(root, path)}: could not be read`]
    }
    const complaints: Array<string> = []
    complaintsOf(program.getTypeChecker(), source, (node, complaint) => {
      const { line } = source.getLineAndCharacterOfPosition(node.getStart(source))
      complaints.push(`${relative(root, path)}:${line + 1} ${complaint}`)
    })
    return complaints
  })
