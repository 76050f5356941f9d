# The CUDA kernels as one fatbin, where nvcc is on this machine:
#   ingot_cuda_program(kernels.cu program.cc)   program.cc embeds the fatbin; INGOT_CUDA_FATBIN is its path
# Off unless asked for (`make build` asks): nvcc takes minutes, which only changes of the kernels are worth.
# sm_80 code runs on compute capability 8.x, sm_90a on 9.0, and the driver compiles the PTX for what is newer.
# Sets INGOT_CUDA_BIN, the folder of nvcc's own programs.

option(INGOT_CUDA "Build the CUDA kernels, where nvcc is found" OFF)
set(INGOT_CUDA_ARCHS "80;90a" CACHE STRING "Compute capabilities to compile for")
set(INGOT_CUDA_PTX "80" CACHE STRING "Compute capability of the PTX")
if(INGOT_CUDA)
  file(GLOB cuda_of_venv ${CMAKE_SOURCE_DIR}/build/venv-cuda/lib/python3*/site-packages/nvidia/cu13/bin)
  find_program(INGOT_NVCC nvcc HINTS $ENV{CUDA_HOME}/bin PATHS /usr/local/cuda/bin ${cuda_of_venv})
endif()
if(INGOT_CUDA AND NOT INGOT_NVCC)
  message(STATUS "CUDA is left out: nvcc was not found (\"make build CUDA=1\" installs it)")
endif()
if(INGOT_CUDA AND INGOT_NVCC)  # where it is, by its own account: the nvcc of the PATH may be a script that calls another
  execute_process(COMMAND ${INGOT_NVCC} --dryrun -x cu -c /dev/null OUTPUT_VARIABLE dryrun ERROR_VARIABLE dryrun)
  if(NOT dryrun MATCHES "_HERE_=([^\n]+)")
    message(FATAL_ERROR "${INGOT_NVCC} does not work: ${dryrun}")
  endif()
  set(INGOT_CUDA_BIN ${CMAKE_MATCH_1})
endif()

function(ingot_cuda_program kernels program)
  if(NOT INGOT_CUDA OR NOT INGOT_NVCC)
    return()
  endif()
  get_filename_component(source ${kernels} ABSOLUTE)
  set(log ${CMAKE_SOURCE_DIR}/tools/log_output.sh)
  # Once to PTX, and from there to each architecture, all at once. Products and sums are fused only where the code says so.
  set(ptx ${CMAKE_CURRENT_BINARY_DIR}/kernels.ptx)
  add_custom_command(
    OUTPUT ${ptx}
    COMMAND ${log} ${ptx}.log ${INGOT_NVCC} -ccbin ${CMAKE_CXX_COMPILER} -std=c++20 -O3 -fmad=false -I${CMAKE_SOURCE_DIR}/src
      -ptx -arch=compute_${INGOT_CUDA_PTX} -MD -MF ${ptx}.d -o ${ptx} ${source}
    DEPENDS ${source} DEPFILE ${ptx}.d VERBATIM COMMENT "CUDA kernels: nvcc")
  set(cubins "")
  set(images --image3=kind=ptx,sm=${INGOT_CUDA_PTX},file=${ptx})
  foreach(arch ${INGOT_CUDA_ARCHS})
    set(cubin ${CMAKE_CURRENT_BINARY_DIR}/kernels_sm_${arch}.cubin)
    add_custom_command(
      OUTPUT ${cubin}
      COMMAND ${log} ${cubin}.log ${INGOT_CUDA_BIN}/ptxas -v --fmad false -arch=sm_${arch} -o ${cubin} ${ptx}
      DEPENDS ${ptx} VERBATIM COMMENT "CUDA kernels: ptxas for sm_${arch}")
    list(APPEND cubins ${cubin})
    list(APPEND images --image3=kind=elf,sm=${arch},file=${cubin})
  endforeach()
  set(fatbin ${CMAKE_CURRENT_BINARY_DIR}/kernels.fatbin)
  add_custom_command(OUTPUT ${fatbin} COMMAND ${INGOT_CUDA_BIN}/fatbinary -64 --create=${fatbin} --compress-all ${images}
                     DEPENDS ${cubins} VERBATIM COMMENT "CUDA kernels: fatbin")
  set_source_files_properties(${program} PROPERTIES OBJECT_DEPENDS ${fatbin} COMPILE_DEFINITIONS "INGOT_CUDA_FATBIN=\"${fatbin}\"")
endfunction()
