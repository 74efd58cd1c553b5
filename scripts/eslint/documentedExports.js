// @ts-check
import ts from "typescript"

/**
 * Every export of a public module has a docstring with `@since` and `@category`, so that the reference can be generated from it.
 * A re-exported namespace and the docstring of a module need only `@since`. Overloads and optional fields have docstrings of their own,
 * because an editor shows these to a caller, and not that of the export. So do the optional fields that an interface has from the rooms
 * of `src/internal`.
 *
 * @type {import("eslint").Rule.RuleModule}
 */
export const documentedExports = {
  meta: {
    type: "problem",
    schema: [],
    messages: {
      missing: "An export needs a docstring with {{ tags }}.",
      bare: "{{ what }} needs a docstring.",
      inherited: "The optional field {{ field }} needs a docstring in {{ file }}."
    }
  },
  create(context) {
    const { sourceCode } = context
    /** @param {import("eslint").Rule.Node} node @param {ReadonlyArray<string>} tags */
    const check = (node, tags) => {
      const comment = sourceCode.getCommentsBefore(node).at(-1)
      const text = comment?.type === "Block" && comment.value.startsWith("*") ? comment.value : ""
      if (!tags.every((tag) => text.includes(tag))) {
        context.report({ node, messageId: "missing", data: { tags: tags.join(" and ") } })
      }
    }
    /** @param {import("eslint").Rule.Node} node @param {string} what */
    const checkBare = (node, what) => {
      const comment = sourceCode.getCommentsBefore(node).at(-1)
      if (comment?.type !== "Block" || !comment.value.startsWith("*")) {
        context.report({ node, messageId: "bare", data: { what } })
      }
    }
    /** @type {{ program?: import("typescript").Program, esTreeNodeToTSNodeMap?: WeakMap<object, import("typescript").Node> }} */
    const services = sourceCode.parserServices
    /** @param {import("eslint").Rule.Node} node */
    const checkInherited = (node) => {
      const declared = services.esTreeNodeToTSNodeMap?.get(node)
      const checker = services.program?.getTypeChecker()
      if (declared === undefined || checker === undefined) {
        throw new Error("documented-exports needs the types of the program")
      }
      for (const field of checker.getTypeAtLocation(declared).getProperties()) {
        const signatures = (field.declarations ?? [])
          .filter(ts.isPropertySignature)
          .filter((one) => one.questionToken !== undefined && one.getSourceFile().fileName.includes("/src/internal/"))
        const [signature] = signatures
        if (signature !== undefined && field.getDocumentationComment(checker).length === 0) {
          const file = signature
            .getSourceFile()
            .fileName.replace(/^.*(?=\/src\/internal\/)/, "")
            .slice(1)
          context.report({ node, messageId: "inherited", data: { field: field.name, file } })
        }
      }
    }
    /** @type {unknown} */
    let previous
    return {
      ExportNamedDeclaration(node) {
        const declaration = node.declaration
        // The tags are those of the first overload. What implements them comes last, and is shown to nobody.
        const name = declaration && "id" in declaration && declaration.id ? declaration.id.name : undefined
        if (name !== undefined && name === previous && String(declaration?.type).includes("Function")) {
          if (String(declaration?.type) === "TSDeclareFunction") {
            checkBare(node, "An overload")
          }
          return
        }
        previous = name
        check(node, declaration === null || declaration === undefined ? ["@since"] : ["@since", "@category"])
      },
      ExportAllDeclaration(node) {
        check(node, ["@since"])
      },
      /** @param {import("eslint").Rule.Node} node */
      "ExportNamedDeclaration > TSInterfaceDeclaration[extends.length>0]"(node) {
        checkInherited(node)
      },
      /** @param {import("eslint").Rule.Node} node */
      "ExportNamedDeclaration > VariableDeclaration > VariableDeclarator > Identifier > TSTypeAnnotation > TSTypeLiteral > TSCallSignatureDeclaration"(
        node
      ) {
        checkBare(node, "An overload")
      },
      /** @param {import("eslint").Rule.Node} node */
      "ExportNamedDeclaration :matches(TSInterfaceBody, Identifier > TSTypeAnnotation > TSTypeLiteral, TSTypeAliasDeclaration > TSTypeLiteral, TSTypeAliasDeclaration > TSUnionType > TSTypeLiteral) > TSPropertySignature[optional=true]"(
        node
      ) {
        checkBare(node, "An optional field")
      }
    }
  }
}
