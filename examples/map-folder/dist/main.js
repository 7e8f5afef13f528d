console.log("from this folder")
