// npm's solc kept running: one JSON line in, {sources: {path: text}, wanted: [path], settings}, one line out,
// {errors: [text], bytecode: {path: {contract: hex}}}. Starting the compiler anew takes longer than a compilation.
'use strict';
const fs = require('fs');
const path = require('path');
const readline = require('readline');

const root = path.join(__dirname, '..');
const solc = require(require.resolve('solc', { paths: [root] }));

function read(name) {
  try {
    return { contents: fs.readFileSync(path.join(root, name), 'utf8') };
  } catch (error) {
    return { error: String(error) };
  }
}

function compile({ sources, wanted, settings }) {
  const input = {
    language: 'Solidity',
    sources: Object.fromEntries(Object.entries(sources).map(([name, content]) => [name, { content }])),
    settings: { ...settings, outputSelection: Object.fromEntries(wanted.map((name) => [name, { '*': ['evm.bytecode.object'] }])) },
  };
  // The compiler asks for imports by their remapped names.
  const output = JSON.parse(solc.compile(JSON.stringify(input), { import: read }));
  const bytecode = {};
  for (const name of wanted) {
    for (const [contract, made] of Object.entries(output.contracts?.[name] ?? {})) {
      (bytecode[name] ??= {})[contract] = made.evm.bytecode.object;
    }
  }
  const errors = (output.errors ?? []).filter((error) => error.severity === 'error').map((error) => error.formattedMessage);
  return { errors, bytecode };
}

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  process.stdout.write(JSON.stringify(compile(JSON.parse(line))) + '\n');
});
