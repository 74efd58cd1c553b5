// @ts-check
/**
 * Every export of a public module has a docstring with `@since` and `@category`, so that the reference can be generated from it.
 * A re-exported namespace and the docstring of a module need only `@since`.
 *
 * @type {import("eslint").Rule.RuleModule}
 */
export const documentedExports = {
  meta: {
    type: "problem",
    schema: [],
    messages: {
      missing: "An export needs a docstring with {{ tags }}."
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
    /** @type {unknown} */
    let previous
    return {
      ExportNamedDeclaration(node) {
        const declaration = node.declaration
        // Overloads share the docstring of the first one.
        const name = declaration && "id" in declaration && declaration.id ? declaration.id.name : undefined
        if (name !== undefined && name === previous && String(declaration?.type).includes("Function")) {
          return
        }
        previous = name
        check(node, declaration === null || declaration === undefined ? ["@since"] : ["@since", "@category"])
      },
      ExportAllDeclaration(node) {
        check(node, ["@since"])
      }
    }
  }
}
