// Prints what the AsyncAPI parser makes of a document: node parse.js asyncapi.yaml
const { Parser, fromFile } = require("@asyncapi/parser");

async function main(path) {
  const { document, diagnostics } = await fromFile(new Parser(), path).parse();
  console.log(
    JSON.stringify({
      diagnostics: diagnostics.map(({ code, message, path }) => ({ code, message, path })),
      operations: document?.operations().all().map((operation) => operation.id()) ?? [],
      messages: document?.messages().all().map((message) => message.id()) ?? [],
    }),
  );
}

main(process.argv[2]);
